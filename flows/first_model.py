"""`kedge train`: a model from the manifest; promoted only when there is no champion to be better than."""

from dataclasses import replace

from flows.candidate import FIRST, Order, Outcome, make_candidate
from flows.collecting.preparing import is_as_begun
from flows.data import check_data
from flows.jobs.attempts import attempted
from flows.jobs.releasing import release_dead
from flows.promote import promote
from flows.telling import Teller
from flows.workplace import Workplace
from infra.errors import UserError
from infra.job_keeping import Keeper, Stopped
from infra.jobs import Job, claim_job, finish_job, note_run_dir, queue_job
from models.gate_records import PROMOTE
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
    claimed = claim_job(place.engine, job.id) if job.kind == FIRST else None
    if claimed is not None and (left := _left_behind(place, claimed, teller)):
        teller.warn(f"{left}. Training begins anew.")
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


def _left_behind(place: Workplace, job: Job, teller: Teller) -> str:
    """
    Close a job that was broken off once its version was registered, where it would begin otherwise now; "" elsewhere.

    A job makes one version: going on would call the version of the old images one of the new.
    """
    made = place.registry.version_of_job(job.id)
    if made is None or is_as_begun(place, _order(place, job), teller):
        return ""
    why = f"broken off after version {made.version} was registered; images or settings have changed since"
    if load_profile(place.engine, place.objects, place.registry.name, made.version) is None:
        # Its traffic could not be watched, and what the profile is made from is gone.
        place.registry.withdraw(made.version, actor="kedge train", reason=why)
        why += ", so that it cannot be completed and is refused"
    finish_job(place.engine, job.id, "cancelled", claim=job.claim, error=why)
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
