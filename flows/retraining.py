"""Retraining, or judging once more: one job from claim to rollout. Knows no Prefect; the flow `retrain` calls it."""

import logging
from dataclasses import dataclass, replace
from datetime import timedelta
from pathlib import Path
from typing import Any

from flows.candidate import ARCHIVED, CANDIDATE, DECLINED, FIRST, SUCCESSOR, Order, Outcome, make_candidate
from flows.collecting.snapshot import kept_snapshot
from flows.gating.second_reading import read_for_job
from flows.jobs.attempts import attempted
from flows.jobs.releasing import release_dead, what
from flows.notify import notify
from flows.rollout.begin import begin_rollout
from flows.telling import Logged, Teller
from flows.workplace import Workplace, open_workplace
from infra.clock import now
from infra.errors import Interrupted, UserError
from infra.heartbeat import last_beat
from infra.job_keeping import Keeper, Stopped
from infra.jobs import JUDGE, Job, claim_job, find_job, finish_job, note_run_dir, open_jobs, queue_job
from infra.settings import Settings
from models import rollout_runs
from models.gate_needs import in_words, needs_of
from models.gate_records import GateDecision
from models.rollout_runs import RolloutRun

_log = logging.getLogger(__name__)
_RUNNER_LIVES = timedelta(seconds=15)  # three of its heartbeats
_NOT_TRAINED = GateDecision("undecided", relief=False, objections=(), checks=(), precisions=(), notes=())


@dataclass(frozen=True)
class JobOutcome:
    """
    How a job ended; `job_id` is empty when there was nothing to do.

    Attributes:
        state: As the job's row; or "skipped" (another has it, or it is over), or "lost" (another has it now).
        outcome: What was made; None where nothing came of it.
    """

    job_id: str
    state: str
    words: str
    outcome: Outcome | None = None

    def __str__(self) -> str:
        return f"{self.state}: {self.words}"


def run_job(settings: Settings, job_id: str | None, reason: str, teller: Teller | None = None) -> JobOutcome:
    """
    Do one job: that of the row, or a new one for `reason` where no id is given. Untold, its progress goes to the log.

    A job that another process has, or that is over, is left alone: calling twice does it once. Must run in the main
    thread, where the wish to cancel arrives.
    """
    place = open_workplace(settings.root)
    release_dead(place.settings, place.engine)
    wanted = job_id or queue_job(place.engine, SUCCESSOR, reason).id
    if any(job.id == wanted and job.kind == FIRST for job in open_jobs(place.engine)):
        return JobOutcome(wanted, "skipped", f"job {wanted} is a `kedge train`: that command goes on with it")
    job = claim_job(place.engine, wanted)
    if job is None:
        return JobOutcome(wanted, "skipped", f"job {wanted} is not waiting: another process has it, or it is over")
    try:
        outcome = _do(place, job, teller or Logged(_log))
    except Stopped as stop:
        _log.warning("Job %s is %s: %s", job.id, stop.why, stop)
        return JobOutcome(job.id, stop.why, str(stop))
    except UserError as error:
        notify(settings, "retrain_failed", f"{what(job)} failed: {error}", {"job": job.id})
        return JobOutcome(job.id, "failed", str(error))
    except Exception as error:
        notify(settings, "retrain_failed", f"{what(job)} failed: {error!r}", {"job": job.id})
        raise
    words = _words(outcome)
    notify(settings, "retrain_done", words, {"job": job.id, "version": str(outcome.version.version)})
    return JobOutcome(job.id, _state(outcome), words, outcome)


def retrain_here(place: Workplace, reason: str, teller: Teller, *, forecast: bool | None = None) -> Outcome:
    """
    Write a job and do it in this process.

    forecast: whether the gain is forecast first; None: as trigger.forecast and the reason have it.

    Raises:
        UserError: there is no champion to start from, another job is open, training failed, or it was cancelled.
        Interrupted: Ctrl-C; the message says who goes on with the job.
    """
    waiting = {one.id for one in open_jobs(place.engine)}
    job = claim_job(place.engine, queue_retrain(place, reason, forecast=forecast).id)
    if job is None:
        raise UserError("Another training job is running; wait for it: `kedge jobs` shows it.")
    if job.id in waiting:
        teller.warn(
            f"Job {job.id} waited already, for {job.reason}: it is done now, and your reason and options are not."
        )
    try:
        return _do(place, job, teller)
    except Stopped as stop:
        raise UserError(f"Job {job.id} is {stop.why}: {stop}.") from stop
    except KeyboardInterrupt as stop:
        raise Interrupted(_left(place, job)) from stop


def _left(place: Workplace, job: Job) -> str:
    """What becomes of a job whose command was stopped by Ctrl-C."""
    state = find_job(place.engine, job.id).state
    if state != "queued":
        return f"Job {job.id} is {state}; `kedge jobs show {job.id}` tells more."
    ends = f"`kedge jobs cancel {job.id}` ends it."
    beat = last_beat(place.engine, "runner")
    if beat is not None and now() - beat < _RUNNER_LIVES:
        return f"`kedge up` is running, and goes on with job {job.id} by itself with one of its next looks: {ends}"
    on = "the same command goes on with it, and so does `kedge up` once that runs"
    return f"Nothing is half-done. Job {job.id} waits: {on}; {ends}"


def queue_retrain(place: Workplace, reason: str, *, forecast: bool | None = None) -> Job:
    """
    Write a job for the runner, or find the one that is open; `forecast` as for `retrain_here`.

    Raises:
        UserError: there is no champion to start from, or a candidate of before is being judged once more.
    """
    check_champion(place)
    release_dead(place.settings, place.engine)
    job = queue_job(place.engine, SUCCESSOR, reason, _evidence(forecast=forecast))
    if job.kind == JUDGE:
        raise UserError(
            f"Version {(job.evidence or {}).get('version')} is judged once more first (job {job.id}). `kedge jobs` "
            "shows when that is over; `kedge jobs cancel` ends it, and gives that version up."
        )
    return job


def check_champion(place: Workplace) -> None:
    """
    Raises:
        UserError: there is no champion to retrain from.
    """
    if place.registry.champions.current() is None:
        raise UserError("There is no champion to retrain from. `kedge train` makes the first model.")


def _do(place: Workplace, job: Job, teller: Teller) -> Outcome:
    once = _judged if job.kind == JUDGE else _once
    return attempted(place.engine, job, teller, lambda keeper: once(place, job, keeper, teller))


def _judged(place: Workplace, job: Job, keeper: Keeper, teller: Teller) -> Outcome:
    """One attempt to judge a waiting candidate once more."""
    teller.say("Judging once more, with the labels that have come …")
    outcome = read_for_job(place, job)
    with keeper.undisturbed():
        finish_job(place.engine, job.id, _state(outcome), claim=job.claim, outcome=_facts(outcome, None))
    return outcome


def _once(place: Workplace, job: Job, keeper: Keeper, teller: Teller) -> Outcome:
    """One attempt, which goes on wherever an earlier one was broken off: nothing is registered or sent out twice."""
    run_dir = _run_dir(place, job)
    note_run_dir(place.engine, job.id, str(run_dir), claim=job.claim)
    check_champion(place)
    sent = rollout_runs.of_job(place.engine, place.settings.project.name, job.id)
    outcome = _made(place, job, teller) if sent is None else _sent_before(place, job, sent)
    outcome = _completed(job, outcome, run_dir)
    with keeper.undisturbed():
        if sent is not None or (outcome.state != DECLINED and outcome.version.state != "refused"):
            sent = _send_out(place, job, outcome)
            version = place.registry.version(sent.version)
            outcome = replace(outcome, promoted=sent.promoted, version=version, rollout_words=sent.words)
        finish_job(place.engine, job.id, _state(outcome), claim=job.claim, outcome=_facts(outcome, sent))
    return outcome


def _made(place: Workplace, job: Job, teller: Teller) -> Outcome:
    made = place.registry.version_of_job(job.id)
    if made is not None:
        _check_parent(place, made.title, made.parent_version)
    evidence = job.evidence or {}
    shift, forecast = str(evidence.get("shift", "")), evidence.get("forecast")
    wider = tuple(evidence.get("classes", ()))
    order = Order(SUCCESSOR, job.reason, _run_dir(place, job), shift, job.id, forecast, wider)
    outcome = make_candidate(place, order, teller)
    if outcome.state != DECLINED and outcome.version.state != "refused":
        _check_parent(place, outcome.version.title, outcome.champion_version)
    return outcome


def _sent_before(place: Workplace, job: Job, sent: RolloutRun) -> Outcome:
    """What an attempt had made, or chosen, that was broken off after its rollout had begun."""
    version = place.registry.version(sent.version)
    decision = _NOT_TRAINED if version.gate is None else GateDecision.from_json(version.gate)
    chosen = place.registry.version_of_job(job.id) is None
    words = f"{version.title} fits the new images; it was sent out again instead of a new one." if chosen else ""
    state = ARCHIVED if chosen else CANDIDATE
    return Outcome(version, decision, sent.promoted, 0, 0, 0.0, None, state, words, sent.champion_version)


def _completed(job: Job, outcome: Outcome, run_dir: Path) -> Outcome:
    """With what only an earlier attempt knew: how many images trained, and since when."""
    kept = kept_snapshot(run_dir) if outcome.state == CANDIDATE and not outcome.train_images else None
    if kept is None:
        return outcome
    seconds = (outcome.version.created_at - job.created_at).total_seconds()
    return replace(outcome, train_images=len(kept.train), fresh_images=kept.fresh, seconds=seconds)


def _run_dir(place: Workplace, job: Job) -> Path:
    return place.settings.storage.home / "runs" / job.id


def _check_parent(place: Workplace, title: str, compared: int | None) -> None:
    champion = place.registry.champions.current()
    if champion != compared:
        raise UserError(
            f"{title} was compared with version {compared}, but version {champion} was made champion meanwhile; "
            f"nothing was promoted. Retrain again, or `kedge promote {title.rpartition(':')[2]}`."
        )


def _send_out(place: Workplace, job: Job, outcome: Outcome) -> RolloutRun:
    """Begin the rollout of what the gate lets through, or go on with the one that was begun."""
    reason = f"retrain for {job.reason}"
    number = outcome.version.version
    return begin_rollout(place, number, job_id=job.id, reason=reason, decision=outcome.decision)


def _state(outcome: Outcome) -> str:
    if outcome.state == DECLINED:
        return "declined"
    return "undecided" if outcome.waits else "refused" if outcome.refused else "done"


def _facts(outcome: Outcome, sent: RolloutRun | None) -> dict[str, Any]:
    facts = {
        "made": outcome.state,
        "words": outcome.words or _waits(outcome),
        "promoted": outcome.promoted,
        "rollout": None if sent is None else sent.sequence,
        "gate": outcome.decision.outcome,
        "relief": outcome.decision.relief,
        "train_images": outcome.train_images,
        "fresh_images": outcome.fresh_images,
        "seconds": round(outcome.seconds, 1),
    }
    # A declined job made no version: the champion that stays is none of its doing.
    return facts if outcome.state == DECLINED else {"version": outcome.version.version, **facts}


def _words(outcome: Outcome) -> str:
    if outcome.state != CANDIDATE:
        return outcome.words
    if outcome.waits:
        return f"{outcome.version.title} is {_waits(outcome)}. {' '.join(outcome.decision.words())}"
    what = "is promoted" if outcome.promoted else "is refused" if outcome.refused else "is on its way to the callers"
    return f"{outcome.version.title} {what}. {' '.join(outcome.decision.words())}"


def _waits(outcome: Outcome) -> str:
    """What a candidate waits for; "" for one that does not."""
    return f"undecided: waits for {in_words(needs_of(outcome.decision))}" if outcome.waits else ""


def _evidence(*, forecast: bool | None) -> dict[str, Any] | None:
    return None if forecast is None else {"forecast": forecast}
