"""Cancelling a job, and waiting until whoever runs it has let it go."""

import time

import sqlalchemy as sa

from infra.database import open_database
from infra.errors import UserError
from infra.job_claims import ask_cancel, release_abandoned
from infra.jobs import Job, find_job
from infra.settings import Settings

_WITHIN_S = 15.0
_LOOK_EVERY_S = 0.2


def cancel_job(engine: sa.Engine, job: Job, actor: str, within_s: float = _WITHIN_S) -> str:
    """
    Cancel it, and say what came of that.

    Raises:
        UserError: it is over already, or whoever runs it has not let it go within `within_s` seconds.
    """
    if not job.is_open:
        raise UserError(
            f"Job {job.id} is over: {job.state}. There is nothing to cancel; `kedge jobs` lists those open."
        )
    began = time.monotonic()
    asked = ask_cancel(engine, job, actor)
    while asked.is_open and time.monotonic() - began < within_s:
        # Whose process is gone will not answer; then nobody but us can close it.
        release_abandoned(engine)
        time.sleep(_LOOK_EVERY_S)
        asked = find_job(engine, job.id)
    if asked.is_open:
        raise UserError(
            f"Job {job.id} is asked to stop, but {job.host or 'who runs it'} has not answered within {within_s:.0f} s. "
            "It stops as soon as it can reach the database, and is not begun again elsewhere."
        )
    if asked.state != "cancelled":
        return f"Job {job.id} was over before it could be stopped: {asked.state}."
    return f"Job {job.id} is cancelled after {time.monotonic() - began:.1f} s; nothing of it runs any more."


def cancel_of_run(settings: Settings, job_id: str) -> None:
    """A run was cancelled in Prefect: so is its job, unless it is over."""
    engine = open_database(settings.storage.database)
    try:
        if job_id:
            ask_cancel(engine, find_job(engine, job_id), "Prefect")
    finally:
        engine.dispose()
