"""One look at the traffic, and what follows from it outside: people are told, and a waiting job is called for."""

import logging
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime

from flows.jobs.releasing import release_dead
from flows.notify import notify
from flows.rollout.act import advance_rollouts
from flows.rollout.following import following
from flows.summons import call_for_retrain
from flows.workplace import Workplace, open_workplace
from infra.clock import now
from infra.jobs import BY_RUNNER, open_jobs
from infra.retrain_requests import RetrainRequest
from infra.settings import Settings
from monitoring.evidence_records import DetectorEvidence
from monitoring.policies.records import TriggerDecision
from monitoring.policies.rules import rules_of
from monitoring.triage_records import NOTHING
from monitoring.watch import TickOutcome, WatchPlace, tick

_log = logging.getLogger(__name__)
_STREAM, _FAILED, _STUCK = "watch", "look_failed", "rollout_failed"


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
        rollouts: Versions on their way to the callers: how far each is, as a sentence without its end.
        decision: Whether a retrain starts, why, and what it would win and cost; None where nothing was decided.
        answered: Requests for a retrain that this look answered.
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
    rollouts: tuple[str, ...] = ()
    decision: TriggerDecision | None = None
    answered: tuple[RetrainRequest, ...] = ()

    @property
    def markdown(self) -> str:
        """The same for Prefect's pages."""
        lines = [f"# {self.action.replace('_', ' ')}", *(f"- {reason}" for reason in self.reasons)]
        lines += [f"- **alarm** {alarm}" for alarm in self.alarms]
        lines += [f"- windows closed: {', '.join(map(str, self.windows))}"] if self.windows else []
        lines += [f"- the page of window {self.page} is being drawn"] if self.page else []
        lines += [f"- retrain asked for: job `{self.job_id}`"] if self.job_id else []
        lines += [f"- rollout: {words}" for words in self.rollouts]
        lines += [f"- {words}" for words in self.decision.told] if self.decision is not None else []
        return "\n".join(lines)


def look(settings: Settings) -> Seen:
    """
    Look once. What is seen is in the database before anybody is told of it.

    Raises:
        Exception: whatever the look failed with, after it was logged and left a ledger row.
    """
    place = open_workplace(settings.root)
    try:
        release_dead(place.settings, place.engine)
        seen = _seen(tick(watch_place(place)))
        seen = replace(seen, rollouts=_roll_out(place))
        _tell(settings, seen)
        _call_for_jobs(place)
    except Exception as error:
        _log.exception("The look failed")
        _record(place, error)
        raise
    finally:
        place.engine.dispose()
    return seen


def repeat(settings: Settings, every_s: float) -> Iterator[Seen]:
    """Look once, or with `every_s` above 0 again and again; a look that fails is logged, and the next one comes."""
    # A mistake in the settings is told at once, and not at every look.
    rules_of(settings)
    if every_s <= 0:
        yield look(settings)
        return
    with following(settings):
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


def _roll_out(place: Workplace) -> tuple[str, ...]:
    """Take every rollout as far as it goes; whatever goes wrong with one, the look stands."""
    try:
        return tuple(f"version {run.version}, {run.stage}: {run.words}" for run in advance_rollouts(place))
    except Exception as error:  # noqa: BLE001 - see above
        _log.exception("A rollout could not take its next step; the next look tries again")
        _record(place, error, _STUCK)
        return (f"not advanced ({type(error).__name__}: {error}); the watcher's log has more",)


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
        decision=outcome.decision,
        answered=outcome.answered,
    )


def _tell(settings: Settings, seen: Seen) -> None:
    for alarm in seen.alarms:
        notify(settings, "alarm", alarm, {"windows": list(seen.windows), "action": seen.action})
    if seen.job_id:
        words = seen.decision.words if seen.decision is not None else "; ".join(seen.reasons)
        notify(settings, "retrain_requested", words, {"job": seen.job_id})
    for request in seen.answered:
        words = f"The request '{request.reason}' was {request.state}. {request.words}"
        notify(settings, "retrain_request_answered", words, {"request": request.id, "job": request.job_id})


def _call_for_jobs(place: Workplace) -> None:
    """Call for a job that nobody took: it is new, or its event was lost. A second run finds it taken, and ends."""
    jobs = [job for job in open_jobs(place.engine) if job.kind in BY_RUNNER]
    if any(job.state == "running" for job in jobs):
        return
    for job in jobs:
        call_for_retrain(place.settings, job.id, job.attempts or 0)


def _record(place: Workplace, error: Exception, kind: str = _FAILED) -> None:
    facts = {"error": f"{type(error).__name__}: {error}"}
    # One row for a row of equal failures: a look comes every few seconds, and the ledger never forgets.
    last = place.ledger.rows(_STREAM, last=1)
    if not last or last[0].kind != kind or dict(last[0].facts) != facts:
        place.ledger.append(_STREAM, kind, facts)
