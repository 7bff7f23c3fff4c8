"""Looking after rollouts between the watcher's looks: a guard that trips is acted on within seconds."""

import contextlib
import logging
import threading
from collections.abc import Iterator

from flows.rollout.act import advance_rollouts
from flows.workplace import Workplace, open_workplace
from infra.settings import Settings
from models.rollout_runs import RolloutRun, open_runs

_log = logging.getLogger(__name__)
_EVERY_S = 5.0


def follow(place: Workplace, every_s: float = _EVERY_S) -> Iterator[tuple[RolloutRun, ...]]:
    """Advance what is open again and again, until nothing is; gives the runs after each time."""
    pause = threading.Event()
    while runs := advance_rollouts(place):
        yield runs
        if not any(run.is_open for run in runs):
            return
        pause.wait(every_s)


@contextlib.contextmanager
def following(settings: Settings, every_s: float = _EVERY_S) -> Iterator[None]:
    """As long as the block runs, a thread looks after every rollout; with none open it costs one small read."""
    stop = threading.Event()
    thread = threading.Thread(target=_look_after, args=(settings, every_s, stop), name="rollouts", daemon=True)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join(timeout=10)


def _look_after(settings: Settings, every_s: float, stop: threading.Event) -> None:
    place: Workplace | None = None
    while not stop.wait(every_s):
        try:
            place = place or open_workplace(settings.root)
            if open_runs(place.engine, settings.project.name):
                advance_rollouts(place)
        except Exception:  # noqa: BLE001 - whatever it is, the callers are answered and the next try comes
            _log.exception("A rollout could not take its next step; trying again in %g s", every_s)
    if place is not None:
        place.engine.dispose()
