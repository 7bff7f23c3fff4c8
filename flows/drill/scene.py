"""Where a drill takes place: a project of its own, with the champion, a spoiled copy of it and a real service."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import httpx

from flows.workplace import Workplace
from infra import logs
from infra.cores import usable_cores
from infra.database import open_database
from infra.errors import UserError
from infra.files import write_atomically
from infra.ledger import Ledger
from infra.objects import open_objects
from infra.settings import Settings, load
from infra.workers import live_workers
from models.registry import ModelVersion, Registry
from models.spoiled import spoil

SOUND, SPOILED = 1, 2
_START_S, _SHIP_S, _LOOK_S = 90.0, 60.0, 0.1
_LOG_LINES = 15
_LONGEST_NAME = 64

_TOML = """\
# A drill's project: it is made anew each time, and nobody's callers meet it.
[project]
name = "{name}"

[serve]
port = {port}
workers = {workers}
poll_ms = {poll_ms}
seal_s = 0.3
least_free_disk_mb = 1.0
keep_images = false

[monitor]
feedback_is_random = true   # true here: every answer is labelled

[rollout]
shadow_predictions = 0
canary_predictions = 1000
canary_share = 0.5
"""


@dataclass(frozen=True)
class Answer:
    """What the drill's service said to one image."""

    id: str
    label: str
    version: int


class Scene:
    """The drill's project, and its callers."""

    def __init__(self, place: Workplace, client: httpx.Client) -> None:
        self.place, self._client = place, client

    def ask(self, images: Sequence[bytes]) -> list[Answer]:
        """
        Send images as a caller would.

        Raises:
            UserError: one was not answered.
        """
        return [self._asked(image) for image in images]

    def label(self, answers: Sequence[Answer], truths: Sequence[str]) -> None:
        """Say what they should have been."""
        labels = [{"id": one.id, "label": truth} for one, truth in zip(answers, truths, strict=True)]
        self._client.post("/v1/feedback", json=labels).raise_for_status()

    def wait(self, done: Callable[[], bool], what: str, within_s: float = _SHIP_S) -> None:
        """
        Raises:
            UserError: it did not come.
        """
        deadline = time.monotonic() + within_s
        while not done():
            if time.monotonic() > deadline:
                raise UserError(f"{what} did not come within {within_s:.0f} seconds")
            time.sleep(_LOOK_S)

    def _asked(self, image: bytes) -> Answer:
        try:
            answer = self._client.post("/v1/predict", content=image)
            answer.raise_for_status()
        except httpx.HTTPError as error:
            raise UserError(f"the drill's service did not answer an image: {error}") from error
        body = answer.json()
        return Answer(body["id"], body["label"], int(body["model"].rpartition(":")[2]))


@contextlib.contextmanager
def scene(real: Workplace, champion: ModelVersion) -> Iterator[Scene]:
    """
    Build it, start its service on a spare port, and take all of it away again.

    Raises:
        UserError: the champion's files are not whole, or the service did not start.
    """
    folder = real.settings.storage.home / "drill"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    try:
        place = _place(real.settings, folder)
        _register(real, champion, place, folder)
        with _serving(place) as client:
            yield Scene(place, client)
        place.engine.dispose()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _place(real: Settings, folder: Path) -> Workplace:
    # A name of its own: what is told of a rehearsal must not be taken for the real thing.
    name = f"drill-of-{real.project.name}"[:_LONGEST_NAME]
    text = _TOML.format(name=name, port=_free_port(), workers=real.serve.workers, poll_ms=real.serve.poll_ms)
    write_atomically(folder / "kedge.toml", text)
    # Without the environment: a database or store named there is the real one.
    settings = load(folder, {})
    engine, objects = open_database(settings.storage.database), open_objects(settings.storage)
    registry = Registry(engine, objects, settings.project.name)
    return Workplace(settings, engine, objects, registry, Ledger(engine))


def _register(real: Workplace, champion: ModelVersion, place: Workplace, folder: Path) -> None:
    sound = real.registry.fetch(champion.version, folder / "fetched", with_weights=True)
    spoiled = spoil(sound, folder / "spoiled")
    place.registry.register(sound, reason=f"a copy of {champion.title}", parent_version=None)
    place.registry.register(spoiled, reason="spoiled on purpose", parent_version=SOUND)
    place.registry.champions.promote(SOUND, actor="kedge drill", reason="the champion of before")


@contextlib.contextmanager
def _serving(place: Workplace) -> Iterator[httpx.Client]:
    settings = place.settings
    log = settings.root / "serve.out"
    env = {name: value for name, value in os.environ.items() if not name.startswith("KEDGE_")}
    with log.open("wb") as output:
        served = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "serve", "--runtime", "uvicorn"],
            cwd=settings.root,
            env={**env, "PYTHONSAFEPATH": "1"},
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    url = f"http://{settings.serve.host}:{settings.serve.port}"
    try:
        _await_workers(place, served, url, log)
        with httpx.Client(base_url=url, timeout=30, trust_env=False) as client:
            yield client
    finally:
        _stop(served)


def _await_workers(place: Workplace, served: "subprocess.Popen[bytes]", url: str, log: Path) -> None:
    deadline, wanted = time.monotonic() + _START_S, place.settings.serve.workers or usable_cores()
    while served.poll() is None and time.monotonic() < deadline:
        workers = live_workers(place.engine, place.settings.project.name)
        with contextlib.suppress(httpx.HTTPError):
            ready = httpx.get(f"{url}/readyz", timeout=5, trust_env=False).is_success
            # The address answers as soon as one of them does.
            if ready and sum(worker.version == SOUND for worker in workers) == wanted:
                return
        time.sleep(_LOOK_S)
    raise UserError(f"the drill's service did not start: {logs.tail(log, _LOG_LINES)}")


def _stop(served: "subprocess.Popen[bytes]") -> None:
    # Twice: nobody waits for its answers any more, and the second signal spares the draining.
    for patience_s in (1.0, 10.0):
        served.send_signal(signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            served.wait(patience_s)
            return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(served.pid, signal.SIGKILL)
    served.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
