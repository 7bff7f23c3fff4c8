"""`kedge train`: a model from the manifest; promoted only when there is no champion to be better than."""

from dataclasses import replace

from flows.candidate import FIRST, Order, Outcome, make_candidate
from flows.data import check_data
from flows.promote import promote
from flows.telling import Teller
from flows.workplace import Workplace
from infra.errors import UserError
from infra.jobs import claim_job, finish_job, note_run_dir, queue_job, release_abandoned
from models.gate_records import PROMOTE


def train(place: Workplace, teller: Teller) -> Outcome:
    """
    Train on the manifest, judge, register; promote the first model if it reaches the floors.

    Raises:
        UserError: the data cannot be used, training failed, or another job runs.
    """
    # Every image now, judge images too: one that cannot be read would otherwise stop the work at its end.
    for remark in check_data(place, teller).remarks:
        teller.say(f"Note: {remark}.")
    release_abandoned(place.engine)
    first = place.registry.champion_version() is None
    reason = "first" if first else "manual"
    job = queue_job(place.engine, FIRST, reason)
    if job.kind != FIRST or claim_job(place.engine, job.id) is None:
        remedy = "`kedge status` shows how it goes"
        if job.state == "queued":
            remedy = "`kedge retrain` does it now, and so does the runner of `kedge up`; then train"
        raise UserError(f"Another job is {job.state}: {job.kind}, asked for by {job.reason} ({job.id}). {remedy}.")
    run_dir = place.settings.storage.home / "runs" / job.id
    note_run_dir(place.engine, job.id, str(run_dir))
    try:
        outcome = make_candidate(place, Order(FIRST, reason, run_dir), teller)
        if first and outcome.decision.outcome == PROMOTE:
            promote(place, outcome.version.version, actor="kedge train", reason="first model")
            version = place.registry.version(outcome.version.version)
            outcome = replace(outcome, promoted=True, version=version)
    except Exception as error:
        # Ctrl-C is no failure: the job stays open, and the same command goes on with it.
        finish_job(place.engine, job.id, "failed", error=str(error) or type(error).__name__)
        raise
    facts = {"version": outcome.version.version, "promoted": outcome.promoted, "seconds": round(outcome.seconds, 1)}
    finish_job(place.engine, job.id, "refused" if outcome.refused else "done", outcome=facts)
    return outcome
