"""One look at the traffic, and what follows from it outside: people are told, and a waiting job is called for."""

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from datetime import datetime, timedelta

from flows.notify import notify
from flows.summons import call_for_retrain
from flows.workplace import Workplace, open_workplace
from infra.clock import now
from infra.jobs import open_jobs, release_abandoned
from infra.settings import Settings
from monitoring.evidence import DetectorEvidence
from monitoring.triage import NOTHING
from monitoring.watch import TickOutcome, WatchPlace, tick

_log = logging.getLogger(__name__)
_STREAM, _FAILED = "watch", "look_failed"
# Longer than the debounce of the trigger and the start of a run: a job that is being taken is not called twice.
_CALL_AGAIN_AFTER = timedelta(seconds=45)


@dataclass(frozen=True)
class Seen:
    """
    What one look found.

    Attributes:
        action: The verdict: nothing | label_first | fix_input | retrain.
        windows: Sequences of the windows that this look closed.
        alarms: In words, those that are new.
        page: The window whose page was asked for; 0 = none.
        job_id: Of the retrain that this look asked for; "" = none.
        would_change: What would lead to another verdict, as sentences.
        detectors: The evidence of each beside the line at which it alarms.
        lanes: Lane to what it can do so far, in words.
    """

    at: datetime
    action: str
    reasons: tuple[str, ...]
    windows: tuple[int, ...]
    alarms: tuple[str, ...]
    page: int
    job_id: str
    would_change: tuple[str, ...] = ()
    detectors: tuple[DetectorEvidence, ...] = ()
    lanes: Mapping[str, str] = field(default_factory=dict)

    @property
    def markdown(self) -> str:
        """The same for Prefect's pages."""
        lines = [f"# {self.action.replace('_', ' ')}", *(f"- {reason}" for reason in self.reasons)]
        lines += [f"- **alarm** {alarm}" for alarm in self.alarms]
        lines += [f"- windows closed: {', '.join(map(str, self.windows))}"] if self.windows else []
        lines += [f"- the page of window {self.page} is being drawn"] if self.page else []
        lines += [f"- retrain asked for: job `{self.job_id}`"] if self.job_id else []
        return "\n".join(lines)


def look(settings: Settings) -> Seen:
    """
    Look once. What is seen is in the database before anybody is told of it.

    Raises:
        Exception: whatever the look failed with, after it was logged and left a ledger row.
    """
    place = open_workplace(settings.root)
    try:
        release_abandoned(place.engine)
        seen = _seen(tick(watch_place(place)))
        _tell(settings, seen)
        _call_for_jobs(place, seen.job_id)
    except Exception as error:
        _log.exception("The look failed")
        _record(place, error)
        raise
    finally:
        place.engine.dispose()
    return seen


def repeat(settings: Settings, every_s: float) -> Iterator[Seen]:
    """Look once, or with `every_s` above 0 again and again; a look that fails is logged, and the next one comes."""
    if every_s <= 0:
        yield look(settings)
        return
    while True:
        began = time.monotonic()
        try:
            yield look(settings)
        except Exception:  # noqa: BLE001 - logged and recorded by `look`
            _log.warning("Looking again in %g s", every_s)
        time.sleep(max(0.0, every_s - (time.monotonic() - began)))


def watch_place(place: Workplace) -> WatchPlace:
    """Where the watcher reads and writes in this project."""
    return WatchPlace(place.settings, place.engine, place.objects, place.registry, place.log)


def _seen(outcome: TickOutcome) -> Seen:
    verdict = outcome.verdict
    return Seen(
        at=now(),
        action=verdict.action if verdict is not None else NOTHING,
        reasons=verdict.reasons if verdict is not None else (outcome.words,),
        windows=tuple(window.sequence for window in outcome.windows),
        alarms=tuple(f"{one.lane} lane, {one.detector}, in window {one.window_sequence}" for one in outcome.alarms),
        page=outcome.page or 0,
        job_id=outcome.job_id or "",
        would_change=verdict.would_change if verdict is not None else (),
        detectors=outcome.evidence.detectors if outcome.evidence is not None else (),
        lanes=dict(outcome.evidence.lanes) if outcome.evidence is not None else {},
    )


def _tell(settings: Settings, seen: Seen) -> None:
    for alarm in seen.alarms:
        notify(settings, "alarm", alarm, {"windows": list(seen.windows), "action": seen.action})
    if seen.job_id:
        notify(settings, "retrain_requested", "; ".join(seen.reasons), {"job": seen.job_id})


def _call_for_jobs(place: Workplace, new: str) -> None:
    """Call for the new job, and again for one that nobody took: its event was lost, or its process died."""
    jobs = [job for job in open_jobs(place.engine) if job.kind == "retrain"]
    if any(job.state == "running" for job in jobs):
        return
    for job in jobs:
        if job.id == new or now() - job.created_at > _CALL_AGAIN_AFTER:
            call_for_retrain(place.settings, job.id)


def _record(place: Workplace, error: Exception) -> None:
    facts = {"error": f"{type(error).__name__}: {error}"}
    # One row for a row of equal failures: a look comes every few seconds, and the ledger never forgets.
    last = place.ledger.rows(_STREAM, last=1)
    if not last or last[0].kind != _FAILED or dict(last[0].facts) != facts:
        place.ledger.append(_STREAM, _FAILED, facts)
