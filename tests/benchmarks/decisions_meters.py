"""Part `meters`: three arrivals of new devices, lived through unattended under a real `kedge up`."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import httpx

from flows.workplace import Workplace, open_workplace
from infra.jobs import open_jobs
from models.intervals import wilson
from monitoring.labelling.requests import ASKED
from monitoring.labelling.rows import requests
from tests.benchmarks.datasets import data_folder
from tests.benchmarks.decisions_meters_story import rows, story
from tests.benchmarks.decisions_meters_world import ARRIVALS, Meter, Site, site, write_manifest
from tests.benchmarks.monitoring_rows import Section
from tests.benchmarks.results import Measured
from tests.meters import PROJECT, place

_ROOT = Path(__file__).parents[2]
_WORK = _ROOT / "build" / "bench-decisions"
_LABELLED, _BATCH, _NEW, _MEASURED = 0.5, 50, 40, 300
_PATIENCE_S, _TRAIN_S, _PAUSE_S = 1_800.0, 3_600.0, 5.0
_MOST_ROWS = 10_000
_TITLE = "Three arrivals of meters, unattended"
_HOW = (
    "A first model of gas and power meters is served, watched and labelled under `kedge up`; then three kinds of "
    "devices arrive, one after the other, four fifths of the traffic each, while the known ones go on. One answer in "
    "two gets its label, which chance draws, and people answer what Kedge asks for, ten pictures a minute. A minute "
    "stands for a day: a candidate that waits for labels waits for fourteen minutes at most. Nobody touches anything "
    "else: what retrains, judges, tries and promotes is Kedge. When all pictures of a kind were sent, they come again. "
    "The pictures that judge are often near-copies of each other and worth a fraction of their number, too few to rule "
    "out a loss of two points; the site allows five (gate.overall_margin). "
    "Right before and after are measured on pictures of other sessions, which nobody labels."
)
_SETTINGS = (
    PROJECT
    + """threads = 2
budget_minutes = 8
[monitor]
every_s = 10
feedback_is_random = true
evidently_port = 0
[trigger]
cooldown_minutes = 1
[gate]
overall_margin = 0.05
[labels]
per_day = 14400
[rollout]
shadow_predictions = 100
canary_predictions = 100
canary_share = 0.5
most_stage_minutes = 1
[serve]
port = {service}
seal_s = 2
[console]
port = {console}
[prefect]
port = {prefect}
"""
)


def section(*, quick: bool) -> Section:
    """The three arrivals once; a run that was broken off is begun anew, for its project was left in the middle."""
    named = os.environ.get("KEDGE_BENCH_DATA")
    if not named:
        return Section(_TITLE, ("Left out: KEDGE_BENCH_DATA does not say where meter_digits lies.",), ())
    measured = Measured(_WORK / "meters.jsonl", ("arrival",))
    wanted = ARRIVALS[:1] if quick else ARRIVALS
    if any({"arrival": name} not in measured for name, _ in wanted):
        live(data_folder(Path(named)), _WORK / "meters", measured, len(wanted))
    found = {row["arrival"]: row for row in measured.rows()}
    told = [found[name] for name, _ in wanted if name in found]
    return Section(_TITLE, (_HOW, *(words for row in told for words in story(row))), tuple(rows(told, _PATIENCE_S)))


def live(data: Path, folder: Path, measured: Measured, count: int) -> None:
    """Train, serve, and let one kind of device arrive after the other."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    there = site(data, _WORK)
    weights = data / "weights" / "mobilenetv2_100.keras_in1k.safetensors"
    service, console, prefect = _free_ports(3)
    text = _SETTINGS.format(weights=weights, service=service, console=console, prefect=prefect)
    (folder / "kedge.toml").write_text(text)
    write_manifest(folder / "manifest.csv", there.kept)
    _kedge(folder, "train")
    with _up(folder, service):
        traffic = Traffic(folder, f"http://127.0.0.1:{service}", there)
        for name, met, later in there.arrivals[:count]:
            measured.add({"arrival": name, **traffic.arrive(met, later)})
            print(measured.rows()[-1], file=sys.stderr, flush=True)


class Traffic:
    """Callers and labellers of one project; everything goes over HTTP, and what is told is read from its rows."""

    def __init__(self, folder: Path, url: str, there: Site) -> None:
        self._place: Workplace = open_workplace(folder)
        self._url, self._there, self._batches = url, there, 0
        self._known = list(there.home)
        self._truth: dict[str, str] = {}
        self._labelled = 0
        self._jobs_before = 0

    def arrive(self, met: Sequence[Meter], later: Sequence[Meter]) -> dict[str, Any]:
        """Send the devices until a successor answers for them; what came of it."""
        began, begun_rows, self._labelled = time.monotonic(), self._ledger_rows(), 0
        champion = self._place.registry.champions.current()
        self._jobs_before = len(self._place.ledger.rows("jobs"))
        before = self._measure(later)
        moments: dict[str, float] = {}
        while time.monotonic() - began < _PATIENCE_S:
            self._send_and_label(self._mixed(met))
            self._answer_what_is_asked()
            self._note(moments, began, champion)
            if self._is_settled(champion):
                break
            time.sleep(_PAUSE_S)
        rows = self._ledger_rows()[len(begun_rows) :]
        self._known = sorted([*self._known, *met], key=lambda one: one.place)
        return {
            "before": before,
            "after": self._measure(later),
            "home": self._measure(self._there.home_later),
            "seconds": {name: round(value, 1) for name, value in moments.items()},
            "labels": self._labelled,
            "champion_before": champion,
            "champion_after": self._place.registry.champions.current(),
            "ledger": dict(Counter(f"{stream}: {kind}" for stream, kind, _ in rows)),
            "story": [f"{stream}: {kind} – {words}" for stream, kind, words in rows if words],
            "verifies": self._verifies(),
        }

    def _mixed(self, met: Sequence[Meter]) -> list[Meter]:
        """The next batch: most of it the new devices, among them the known ones; each again in its turn."""
        known = _BATCH - _NEW
        batch = [met[(self._batches * _NEW + number) % len(met)] for number in range(_NEW)]
        batch += [self._known[(self._batches * known + number) % len(self._known)] for number in range(known)]
        self._batches += 1
        return sorted(batch, key=lambda one: place(one.session))

    def _send_and_label(self, pictures: Sequence[Meter]) -> None:
        labels = []
        for one in pictures:
            answer = self._answer(one)
            self._truth[answer["id"]] = one.label
            if place(answer["id"]) < _LABELLED:
                labels.append({"id": answer["id"], "label": one.label})
        self._label(labels)

    def _answer_what_is_asked(self) -> None:
        """As people do who follow `kedge labels next`; of the pictures that measure nobody knows anything."""
        asked = [one.prediction_id for one in requests(self._place.engine, "meters") if one.state == ASKED]
        self._label([{"id": one, "label": self._truth[one]} for one in asked if one in self._truth])

    def _label(self, labels: Sequence[Mapping[str, str]]) -> None:
        if labels:
            found = httpx.post(f"{self._url}/v1/feedback", json=labels, timeout=60, trust_env=False)
            found.raise_for_status()
            self._labelled += len(labels)

    def _answer(self, one: Meter) -> dict[str, str]:
        metadata = {"medium": one.medium, "device": one.device, "session": one.session}
        found = httpx.post(
            f"{self._url}/v1/predict", content=one.path.read_bytes(), params=metadata, timeout=60, trust_env=False
        )
        found.raise_for_status()
        answer: dict[str, str] = found.json()
        return answer

    def _measure(self, pictures: Sequence[Meter]) -> list[float]:
        """Share of right answers with its interval, and of how many; they are never labelled."""
        asked = pictures[:_MEASURED]
        right = sum(self._answer(one)["label"] == one.label for one in asked)
        return [round(right / len(asked), 4), *(round(end, 4) for end in wilson(right, len(asked))), len(asked)]

    def _note(self, moments: dict[str, float], began: float, champion: int | None) -> None:
        """When each deed was first seen in the ledger, in seconds since the first picture."""
        passed = time.monotonic() - began
        if self._place.registry.champions.current() != champion:
            moments.setdefault("promoted", passed)
        for row in self._place.ledger.rows("jobs", 5):
            ends = ("asked", "done", "refused", "undecided", "failed", "declined")
            if row.sequence > self._jobs_before and row.kind in ends:
                moments.setdefault(f"job {row.kind} {row.sequence}", passed)

    def _is_settled(self, champion: int | None) -> bool:
        return self._place.registry.champions.current() != champion and not open_jobs(self._place.engine)

    def _ledger_rows(self) -> list[tuple[str, str, str]]:
        """Stream, kind and words of every row, in the order of writing."""
        return [(row.stream, row.kind, _words(row.facts)) for row in self._place.ledger.newest(_MOST_ROWS)]

    def _verifies(self) -> bool:
        """Whether every stream's chain holds."""
        ledger = self._place.ledger
        return all(ledger.verify(head.stream) is None for head in ledger.heads())


def _words(facts: Mapping[str, Any]) -> str:
    """What a row says in a sentence, where it says one."""
    for name in ("words", "reasons", "reason"):
        said = facts.get(name)
        if said:
            return str(said[0] if isinstance(said, list) else said)[:300]
    return ""


@contextlib.contextmanager
def _up(folder: Path, port: int) -> Iterator[None]:
    with (folder / "up.out").open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "up"], cwd=folder, env=_environment(), stdin=subprocess.DEVNULL,
            stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
        try:
            _wait(lambda: process.poll() is not None or _is_ready(folder, port), _TRAIN_S, "kedge up")
            assert process.poll() is None, (folder / "up.out").read_text()[-3_000:]
            yield
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(120)


def _is_ready(folder: Path, port: int) -> bool:
    try:
        ready = httpx.get(f"http://127.0.0.1:{port}/readyz", timeout=5, trust_env=False).is_success
    except httpx.HTTPError:
        return False
    return ready and "Everything is up" in (folder / "up.out").read_text()


def _kedge(folder: Path, *arguments: str) -> str:
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments], cwd=folder, env=_environment(), capture_output=True,
        text=True, timeout=_TRAIN_S, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3_000:]
    return done.stdout


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONSAFEPATH": "1", "PYTHONPATH": str(_ROOT)}


def _wait(done: Callable[[], bool], within_s: float, what: str) -> None:
    deadline = time.monotonic() + within_s
    while not done():
        assert time.monotonic() < deadline, f"{what} did not come within {within_s:.0f} s"
        time.sleep(1)


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [int(probe.getsockname()[1]) for probe in probes]


if __name__ == "__main__":
    from tests.benchmarks.parts import markdown

    print(markdown(section(quick="--quick" in sys.argv)))
    print(json.dumps([row["arrival"] for row in Measured(_WORK / "meters.jsonl", ("arrival",)).rows()]))
