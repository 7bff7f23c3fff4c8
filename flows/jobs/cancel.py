"""Cancelling a job, and waiting until whoever runs it has let it go."""

import time

from flows.jobs.releasing import release_dead
from flows.workplace import Workplace
from infra.database import open_database
from infra.errors import UserError
from infra.job_claims import ask_cancel
from infra.jobs import Job, find_job
from infra.settings import Settings
from models import rollout_runs
from models.registry import title_of
from models.rollout_runs import PROBATION, PROMOTING, RolloutRun

_WITHIN_S = 15.0
_LOOK_EVERY_S = 0.2


def cancel_job(place: Workplace, job: Job, actor: str, within_s: float = _WITHIN_S) -> str:
    """
    Cancel it, and say what came of that; what it has made and sent out is not taken back.

    Raises:
        UserError: it is over already, or whoever runs it has not let it go within `within_s` seconds.
    """
    if not job.is_open:
        left = _left(place, job) or "`kedge jobs` lists those open."
        raise UserError(f"Job {job.id} is over: {job.state}. There is nothing to cancel. {left}")
    began = time.monotonic()
    asked = ask_cancel(place.engine, job, actor)
    while asked.is_open and time.monotonic() - began < within_s:
        # Whose process is gone will not answer; then nobody but us can close it.
        release_dead(place.settings, place.engine)
        time.sleep(_LOOK_EVERY_S)
        asked = find_job(place.engine, job.id)
    left = _left(place, job)
    if asked.is_open and left:
        raise UserError(f"Job {job.id} was asked to stop too late: it is sending out what it made. {left}")
    if asked.is_open:
        raise UserError(
            f"Job {job.id} is asked to stop, but {job.host or 'who runs it'} has not answered within {within_s:.0f} s. "
            "It stops as soon as it can reach the database, and is not begun again elsewhere."
        )
    if asked.state != "cancelled":
        return f"Job {job.id} was over before it could be stopped: {asked.state}. {left}".rstrip()
    seconds = time.monotonic() - began
    runs = f". {left}" if left else "; nothing of it runs any more."
    return f"Job {job.id} is cancelled after {seconds:.1f} s{runs}"


def cancel_of_run(settings: Settings, job_id: str) -> None:
    """A run was cancelled in Prefect: so is its job, unless it is over."""
    engine = open_database(settings.storage.database)
    try:
        if job_id:
            ask_cancel(engine, find_job(engine, job_id), "Prefect")
    finally:
        engine.dispose()


def _left(place: Workplace, job: Job) -> str:
    """What stays of a job that had got so far: its rollout, or its version; "" before."""
    run = rollout_runs.of_job(place.engine, place.registry.name, job.id)
    if run is not None:
        return f"Its training was done, and {_goes_on(place, run)}"
    made = place.registry.version_of_job(job.id)
    if made is None:
        return ""
    if place.registry.champions.current() == made.version:
        return f"{made.title}, which it had registered, is champion: {_way_back(place)}"
    return f"{made.title}, which it had registered, stays; it is not sent out."


def _goes_on(place: Workplace, run: RolloutRun) -> str:
    title = title_of(run.name, run.version)
    back = _way_back(place)
    if run.stage == PROBATION or (not run.is_open and place.registry.champions.current() == run.version):
        return f"{title} is champion: {back}"
    if not run.is_open:
        return f"the rollout of {title} is over: {run.words}."
    stops = f"the rollout of {title} goes on without it ({run.stage}): `kedge rollout stop` ends it"
    return f"{stops}, and once it is champion {back}" if run.stage == PROMOTING else f"{stops}."


def _way_back(place: Workplace) -> str:
    first = [one.previous_version for one in place.registry.champions.history()[-1:]] == [None]
    if first:
        return "no other was champion before, and `kedge promote N` chooses another."
    return "`kedge rollback` returns to the champion before."
