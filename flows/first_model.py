"""`kedge train`: a model from the manifest; promoted only when there is no champion to be better than."""

from dataclasses import dataclass, replace

from flows.candidate import FIRST, Order, Outcome, make_candidate
from flows.collecting.preparing import is_as_begun
from flows.collecting.snapshot import kept_snapshot
from flows.data import check_data
from flows.jobs.attempts import attempted
from flows.jobs.releasing import release_dead
from flows.promote import promote
from flows.telling import Teller
from flows.workplace import Workplace
from infra.errors import UserError
from infra.job_claims import hand_back
from infra.job_keeping import Keeper, Stopped
from infra.jobs import Job, claim_job, finish_job, note_run_dir, queue_job
from models.gate_records import PROMOTE
from models.registry import ModelVersion
from monitoring.reference.profile import load_profile


def train(place: Workplace, teller: Teller) -> Outcome:
    """
    Train on the manifest, judge, register; promote the first model if it reaches the floors.

    Raises:
        UserError: the data cannot be used, training failed, it was cancelled, or another job runs.
    """
    # Every image now, judge images too: one that cannot be read would otherwise stop the work at its end.
    for remark in check_data(place, teller).remarks:
        teller.say(f"Note: {remark}.")
    release_dead(place.settings, place.engine)
    reason = "first" if place.registry.champions.current() is None else "manual"
    job = queue_job(place.engine, FIRST, reason)
    # Looked at while it is nobody's: whatever fails or is stopped here leaves it waiting, and is no attempt.
    left = _left_behind(place, job, teller)
    claimed = claim_job(place.engine, job.id) if job.kind == FIRST else None
    if claimed is not None and left is not None:
        teller.warn(f"{_closed(place, claimed, left)}. Training begins anew.")
        job = queue_job(place.engine, FIRST, reason)
        claimed = claim_job(place.engine, job.id) if job.kind == FIRST else None
    if claimed is None:
        remedy = "`kedge status` shows how it goes"
        if job.state == "queued":
            remedy = "`kedge retrain` does it now, and so does the runner of `kedge up`; then train"
        raise UserError(f"Another job is {job.state}: {job.kind}, asked for by {job.reason} ({job.id}). {remedy}.")
    # One that was broken off goes on as what it was begun as.
    order = _order(place, job)
    note_run_dir(place.engine, job.id, str(order.run_dir), claim=claimed.claim)
    try:
        return attempted(place.engine, claimed, teller, lambda keeper: _once(place, claimed, order, keeper, teller))
    except Stopped as stop:
        raise UserError(f"Job {job.id} is {stop.why}: {stop}.") from stop


def _order(place: Workplace, job: Job) -> Order:
    return Order(FIRST, job.reason, place.settings.storage.home / "runs" / job.id, job_id=job.id)


@dataclass(frozen=True)
class _Left:
    """What a job that was broken off has registered, and why it cannot be gone on with."""

    made: ModelVersion
    why: str


def _left_behind(place: Workplace, job: Job, teller: Teller) -> _Left | None:
    """
    What a job left that was broken off once its version was registered, where it would begin otherwise now.

    A job makes one version: going on would call the version of the old images one of the new.
    """
    made = place.registry.version_of_job(job.id) if (job.kind, job.state) == (FIRST, "queued") else None
    order = _order(place, job)
    if made is None or is_as_begun(place, order, teller):
        return None
    changed = "images or settings have changed since"
    if kept_snapshot(order.run_dir) is None:
        changed = "its run directory is gone"
    return _Left(made, f"broken off after version {made.version} was registered; {changed}")


def _closed(place: Workplace, job: Job, left: _Left) -> str:
    """Close it, and refuse what could not be watched; says what it was."""
    why, number = left.why, left.made.version
    try:
        if load_profile(place.engine, place.objects, place.registry.name, number) is None:
            # What its profile is made from is gone.
            place.registry.withdraw(number, actor="kedge train", reason=why)
            why += ", so that it cannot be completed and is refused"
        finish_job(place.engine, job.id, "cancelled", claim=job.claim, error=why)
    except BaseException as stop:
        hand_back(place.engine, job, f"stopped: {str(stop) or type(stop).__name__}")
        raise
    return f"Job {job.id} was {why}"


def _once(place: Workplace, job: Job, order: Order, keeper: Keeper, teller: Teller) -> Outcome:
    """One attempt; Ctrl-C is no failure: the job stays open, and the same command goes on with it."""
    outcome = make_candidate(place, order, teller)
    with keeper.undisturbed():
        number = outcome.version.version
        if place.registry.champions.current() is None and outcome.decision.outcome == PROMOTE:
            promote(place, number, actor="kedge train", reason="first model")
        promoted = place.registry.champions.current() == number
        outcome = replace(outcome, promoted=promoted, version=place.registry.version(number))
        facts = {"version": outcome.version.version, "promoted": outcome.promoted, "seconds": round(outcome.seconds, 1)}
        state = "refused" if outcome.refused else "done"
        finish_job(place.engine, job.id, state, claim=job.claim, outcome=facts)
    return outcome
