"""Retraining: one job from claim to promotion. Knows no Prefect; the flow of that name calls it."""

import logging
from dataclasses import dataclass, replace

from flows.candidate import SUCCESSOR, Order, Outcome, make_candidate
from flows.notify import notify
from flows.promote import promote
from flows.telling import Logged, Teller
from flows.workplace import Workplace, open_workplace
from infra.errors import UserError
from infra.jobs import Job, claim_job, finish_job, note_run_dir, open_jobs, queue_job, release_abandoned
from infra.settings import Settings
from models.gate_records import PROMOTE

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class JobOutcome:
    """How a job ended; `job_id` is empty when there was nothing to do."""

    job_id: str
    state: str
    words: str

    def __str__(self) -> str:
        return f"{self.state}: {self.words}"


def run_job(settings: Settings, job_id: str | None, reason: str, teller: Teller | None = None) -> JobOutcome:
    """
    Do one job: that of the row, or a new one for `reason` where no id is given. Untold, its progress goes to the log.

    A job that another process has, or that is over, is left alone: calling twice does it once.
    """
    place = open_workplace(settings.root)
    release_abandoned(place.engine)
    wanted = job_id or queue_job(place.engine, SUCCESSOR, reason).id
    if any(job.id == wanted and job.kind != SUCCESSOR for job in open_jobs(place.engine)):
        return JobOutcome(wanted, "skipped", f"job {wanted} is a `kedge train`: that command goes on with it")
    job = claim_job(place.engine, wanted)
    if job is None:
        return JobOutcome(wanted, "skipped", f"job {wanted} is not waiting: another process has it, or it is over")
    try:
        outcome = _do(place, job, teller or Logged(_log))
    except UserError as error:
        notify(settings, "retrain_failed", f"Retraining for {job.reason} failed: {error}", {"job": job.id})
        return JobOutcome(job.id, "failed", str(error))
    verdict = "promoted" if outcome.promoted else "not promoted"
    words = f"{outcome.version.title} is {verdict}. {' '.join(outcome.decision.words())}"
    notify(settings, "retrain_done", words, {"job": job.id, "version": str(outcome.version.version)})
    return JobOutcome(job.id, "refused" if outcome.refused else "done", words)


def retrain_here(place: Workplace, reason: str, teller: Teller) -> Outcome:
    """
    Write a job and do it in this process.

    Raises:
        UserError: there is no champion to start from, another job is open, or training failed.
    """
    check_champion(place)
    release_abandoned(place.engine)
    job = claim_job(place.engine, queue_job(place.engine, SUCCESSOR, reason).id)
    if job is None:
        raise UserError("Another training job is running; wait for it: `kedge status` shows it.")
    return _do(place, job, teller)


def queue_retrain(place: Workplace, reason: str) -> Job:
    """
    Write a job for the runner, or find the one that is open.

    Raises:
        UserError: there is no champion to start from.
    """
    check_champion(place)
    release_abandoned(place.engine)
    return queue_job(place.engine, SUCCESSOR, reason)


def check_champion(place: Workplace) -> None:
    """
    Raises:
        UserError: there is no champion to start from.
    """
    if place.registry.champion_version() is None:
        raise UserError("There is no champion to retrain from. `kedge train` makes the first model.")


def _do(place: Workplace, job: Job, teller: Teller) -> Outcome:
    run_dir = place.settings.storage.home / "runs" / job.id
    note_run_dir(place.engine, job.id, str(run_dir))
    try:
        check_champion(place)
        order = Order(SUCCESSOR, job.reason, run_dir, shift=str((job.evidence or {}).get("shift", "")))
        outcome = make_candidate(place, order, teller)
        if outcome.version.state != "refused":
            outcome = _promote(place, job, outcome)
    except Exception as error:
        # Ctrl-C and a cancelled run are no failures: the job stays open, and goes on from its checkpoint next time.
        _log.exception("Job %s failed", job.id)
        finish_job(place.engine, job.id, "failed", error=str(error) or type(error).__name__)
        raise
    facts = {
        "version": outcome.version.version,
        "promoted": outcome.promoted,
        "gate": outcome.decision.outcome,
        "relief": outcome.decision.relief,
        "train_images": outcome.train_images,
        "fresh_images": outcome.fresh_images,
        "seconds": round(outcome.seconds, 1),
    }
    finish_job(place.engine, job.id, "refused" if outcome.refused else "done", outcome=facts)
    return outcome


def _promote(place: Workplace, job: Job, outcome: Outcome) -> Outcome:
    """
    Promote what the gate lets through; by relief it would go to canary, and until there is one, straight on.

    Raises:
        UserError: the champion is no longer the one that the candidate was compared with.
    """
    champion = place.registry.champion_version()
    if champion != outcome.version.parent_version:
        number = outcome.version.version
        raise UserError(
            f"{outcome.version.title} was compared with version {outcome.version.parent_version}, but version "
            f"{champion} was made champion meanwhile; nothing was promoted. Retrain again, or `kedge promote {number}`."
        )
    reason = f"retrain for {job.reason}"
    if outcome.decision.outcome != PROMOTE:
        reason += "; undecided by the gate, promoted by relief: a gain of at least 10 points is proven"
    promote(place, outcome.version.version, actor="kedge retrain", reason=reason)
    return replace(outcome, promoted=True, version=place.registry.version(outcome.version.version))
