"""
`kedge demo`: the whole loop on one machine, unattended, for real.

Its success is asserted: if accuracy does not come back, or one request fails, it says so and ends with an error.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import numpy as np
from rich.console import Console
from rich.panel import Panel

from flows import demo_report
from flows.demo_project import prepare
from flows.demo_report import DemoResult
from flows.demo_story import Story
from flows.demo_traffic import Answered, Mix, Traffic
from flows.demo_world import NEW_CAMERA, OLD_CAMERAS, World, build_world
from flows.first_model import train
from flows.telling import OnTerminal, on_terminal
from flows.workplace import Workplace
from infra import logs
from infra.errors import UserError
from models.rollout_runs import DONE, PROBATION, runs

_OLD = {camera: 1 / len(OLD_CAMERAS) for camera in OLD_CAMERAS}
_MIXED = {NEW_CAMERA: 0.8, **{camera: 0.2 / len(OLD_CAMERAS) for camera in OLD_CAMERAS}}
_EVEN = {NEW_CAMERA: 0.5, **{camera: 0.5 / len(OLD_CAMERAS) for camera in OLD_CAMERAS}}
_BEFORE, _DRIFTED, _AFTER = 800, 1000, 800
_LABELLED_BEFORE, _LABELLED_DRIFTED, _LABELLED_AFTER = 200, 800, 300
_FAST, _SLOW = 40.0, 8.0
_UP_S, _ALARM_S, _HARM_S, _RETRAIN_S, _ROLLOUT_S, _PROBATION_S = 240.0, 120.0, 180.0, 600.0, 240.0, 120.0
_LOG_LINES = 15


def run_demo(folder: Path, *, seed: int, keep: bool, console: Console) -> DemoResult:
    """
    Run it all in `folder`, which is made anew.

    Raises:
        UserError: a step failed, or the result is not what was promised; the message says which and where to look.
    """
    folder = folder.resolve()
    world = build_world(seed)
    _introduce(console, folder)
    place = prepare(folder, world, seed)
    story = Story(place, console)
    with on_terminal(console) as teller, _step("training the first model", folder, "train"):
        story.tell("step", "Training a small network in stages on 900 real scans …")
        outcome = train(place, teller)
        if not outcome.promoted:
            raise UserError("the first model did not reach the gate's floors: " + " ".join(outcome.decision.words()))
    story.look()
    with _running(folder, place, story) as up:
        result = _live(place, world, seed, story, console)
        demo_report.show(console, place, result, running=keep)
        if keep:
            console.print("Everything keeps running; Ctrl-C stops it.", style="bold")
            with contextlib.suppress(KeyboardInterrupt):
                up.wait()
    demo_report.check(result)
    return result


def _live(place: Workplace, world: World, seed: int, story: Story, console: Console) -> DemoResult:
    serve = place.settings.serve
    traffic = Traffic(f"http://{serve.host}:{serve.port}", world.traffic, seed, serve.token)
    traffic.start()
    chance = np.random.default_rng([seed, 3])
    folder = place.settings.root
    try:
        with on_terminal(console) as bars:
            with _step("traffic before the drift", folder, "service"):
                story.tell("step", f"{_BEFORE} images from the old cameras, over HTTP …")
                _send(traffic, story, bars, Mix("before", _OLD, _FAST), _BEFORE)
            traffic.label(_sample(traffic.of("before"), _LABELLED_BEFORE, chance))
            with _step("noticing the new camera", folder, "watch"):
                story.tell(
                    "step", f"A new camera arrives: {NEW_CAMERA} (simulated: inverted, blurred, noisy, turned) …"
                )
                _send(traffic, story, bars, Mix("drift", _MIXED, _FAST), _DRIFTED)
                _wait(story, lambda: story.when("action", "label_first") is not None, _ALARM_S, "the alarm")
            with _step("late labels", folder, "service"):
                drifted = traffic.of("drift")
                given = traffic.label(_sample(drifted, _LABELLED_DRIFTED, chance))
                story.tell("step", f"Labels come back for {given} of them, late and drawn at random …")
            traffic.mix = Mix("meanwhile", _MIXED, _SLOW)
            with _step("deciding to retrain", folder, "watch"):
                _wait(story, lambda: story.when("action", "retrain") is not None, _HARM_S, "the verdict to retrain")
            with _step("retraining", folder, "retrain"):
                _wait(story, lambda: _retrain_ended(place), _RETRAIN_S, "the retrain", bars, place)
            with _step("rolling out", folder, "watch"):
                story.tell("step", "The candidate answers unseen, then half of the callers, then all …")
                traffic.mix = Mix("rollout", _MIXED, _FAST)
                _wait(story, lambda: _rolled_out(place, (PROBATION, DONE)), _ROLLOUT_S, "the promotion")
            with _step("traffic after the promotion", folder, "service"):
                story.tell("step", f"{_AFTER} images from both kinds of camera …")
                _send(traffic, story, bars, Mix("after", _EVEN, _FAST), _AFTER)
                # For whoever looks at the console afterwards: accuracy is drawn where labels exist.
                traffic.label(_sample(traffic.of("after"), _LABELLED_AFTER, chance))
            with _step("probation", folder, "watch"):
                traffic.mix = Mix("probation", _EVEN, _SLOW)
                _wait(story, lambda: _rolled_out(place, (DONE,)), _PROBATION_S, "the end of probation")
    finally:
        traffic.stop()
    story.look()
    return demo_report.measure(place, traffic, story)


def _retrain_ended(place: Workplace) -> bool:
    from infra.jobs import jobs

    for job in jobs(place.engine):
        if job.kind == "retrain" and job.state in {"failed", "refused", "undecided", "declined", "cancelled"}:
            notes = (place.registry.versions()[-1].gate or {}).get("notes", ())
            said = job.error or (job.outcome or {}).get("words") or " ".join(notes)
            raise UserError(f"the retrain was {job.state}: {said}")
        if job.kind == "retrain" and job.state == "done":
            return True
    return False


def _rolled_out(place: Workplace, stages: tuple[str, ...]) -> bool:
    """Whether the candidate has come that far; one that was stopped on its way ends the demo."""
    for run in runs(place.engine, place.settings.project.name, last=1):
        if not run.is_open and run.stage != DONE:
            raise UserError(f"the rollout of version {run.version} ended as {run.stage}: {run.words}")
        return run.stage in stages
    return False


def _send(traffic: Traffic, story: Story, bars: OnTerminal, mix: Mix, images: int) -> None:
    def progress(done: int, total: int) -> None:
        story.look()
        failed = sum(bool(one.problem) for one in traffic.answered)
        bars.progress(f"traffic: {mix.phase}", done, total, f"{failed} failed")

    traffic.send(mix, images, progress)


def _wait(
    story: Story,
    done: Callable[[], bool],
    within_s: float,
    what: str,
    bars: OnTerminal | None = None,
    place: Workplace | None = None,
) -> None:
    deadline = time.monotonic() + within_s
    while not done():
        story.look()
        if bars is not None and place is not None:
            _show_training(bars, place)
        if time.monotonic() > deadline:
            raise UserError(f"{what} did not come within {within_s:.0f} seconds")
        time.sleep(0.5)
    story.look()


def _show_training(bars: OnTerminal, place: Workplace) -> None:
    """The retrain runs in another process; its progress file tells how far it is."""
    runs = sorted(
        (place.settings.storage.home / "runs").glob("*/progress.jsonl"), key=lambda path: path.stat().st_mtime
    )
    if len(runs) < 2:  # noqa: PLR2004 - the first is the first model's
        return
    with contextlib.suppress(ValueError, IndexError, KeyError):
        line = json.loads(runs[-1].read_text().splitlines()[-1])
        words = f"macro recall {line['select_macro_recall']:.3f}"
        bars.progress(f"retraining, {line['stage_name']}", line["epoch"], line["epochs"], words)


def _sample(answered: list[Answered], count: int, chance: np.random.Generator) -> list[Answered]:
    usable = [one for one in answered if one.id]
    chosen = chance.choice(len(usable), min(count, len(usable)), replace=False)
    return [usable[index] for index in sorted(chosen)]


def _introduce(console: Console, folder: Path) -> None:
    console.print(
        Panel(
            "Kedge trains a classifier on real scans of handwritten digits, serves it over HTTP, and watches it.\n"
            "Then a new camera arrives, accuracy falls, labels come back late, and the rest happens by itself.\n"
            f"[dim]The digits are real; the cameras are simulated. Everything is kept in {folder}.[/]",
            title="kedge demo",
            title_align="left",
            border_style="blue",
        )
    )


@contextlib.contextmanager
def _running(folder: Path, place: Workplace, story: Story) -> Iterator[subprocess.Popen[bytes]]:
    """`kedge up` as a process of its own, stopped as a person would stop it."""
    story.tell("step", "Starting Prefect, the service, the shipper, the console and the runner …")
    log = place.settings.storage.home / "logs" / "up.out"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as output:
        up = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "up"],
            cwd=folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            env={**os.environ, "PYTHONSAFEPATH": "1"},
        )
        try:
            with _step("starting everything", folder, "up"):
                _await_up(up, place, log)
            story.tell("step", f"All up and healthy; the console is at http://127.0.0.1:{place.settings.console.port}/")
            yield up
        finally:
            up.send_signal(signal.SIGINT)
            try:
                up.wait(60)
            except subprocess.TimeoutExpired:
                up.kill()


def _await_up(up: subprocess.Popen[bytes], place: Workplace, log: Path) -> None:
    from flows import up_file

    deadline = time.monotonic() + _UP_S
    serve = place.settings.serve
    while time.monotonic() < deadline:
        if up.poll() is not None:
            raise UserError(f"`kedge up` ended with code {up.returncode}: {logs.tail(log, _LOG_LINES)}")
        state = up_file.running(place.settings.storage.home)
        if state is not None and state.state == "up":
            # Up means alive; the demo sends images, so the model must be there, too.
            with contextlib.suppress(httpx.HTTPError):
                if httpx.get(f"http://{serve.host}:{serve.port}/readyz", timeout=5).is_success:
                    return
        time.sleep(0.3)
    raise UserError(f"`kedge up` was not well within {_UP_S:.0f} seconds: {logs.tail(log, _LOG_LINES)}")


@contextlib.contextmanager
def _step(name: str, folder: Path, log: str) -> Iterator[None]:
    """Say which step failed, and show the end of the log that knows more."""
    try:
        yield
    except UserError as error:
        path = folder / ".kedge" / "logs" / f"{log}.log"
        raise UserError(
            f"The demo failed while {name}: {error}\n\nThe end of {path}:\n{logs.tail(path, _LOG_LINES)}"
        ) from error
