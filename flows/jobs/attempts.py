"""Doing a claimed job as often as the machines' own faults make it necessary, and leaving its row in good order."""

import logging
import time
from collections.abc import Callable
from typing import TypeVar

import sqlalchemy as sa

from flows.jobs.faults import infrastructure_fault, pause_s
from flows.telling import Teller
from infra.database import DatabaseUnreachable
from infra.errors import UserError
from infra.job_claims import MOST_ATTEMPTS, begin_again, hand_back
from infra.job_keeping import Keeper, keeping
from infra.jobs import Job, finish_job

_log = logging.getLogger(__name__)
_Made = TypeVar("_Made")


def attempted(engine: sa.Engine, job: Job, teller: Teller, once: Callable[[Keeper], _Made]) -> _Made:
    """
    What `once` gives, tried again after faults of the machines; it closes the job itself when it succeeds.

    A mistake of a person or of the code is not tried again: it closes the job as failed. Who is stopped (Ctrl-C, a
    cancelled run, a runner that ends) leaves the job waiting to be gone on with, or cancelled where that was asked for.

    Raises:
        Stopped: the job's end was asked for, or another process has it now.
    """
    try:
        with keeping(engine, job) as keeper:
            return _tried(engine, job, teller, lambda: once(keeper))
    except Exception as error:
        _log.exception("Job %s failed", job.id)
        finish_job(engine, job.id, "failed", claim=job.claim, error=str(error) or type(error).__name__)
        raise
    except BaseException as stop:
        hand_back(engine, job, f"stopped: {str(stop) or type(stop).__name__}")
        raise


def _tried(engine: sa.Engine, job: Job, teller: Teller, once: Callable[[], _Made]) -> _Made:
    first = attempt = job.attempts or 1
    while True:
        try:
            return once()
        except Exception as error:
            why = infrastructure_fault(error)
            if not why:
                raise
            if attempt >= MOST_ATTEMPTS:
                raise UserError(f"Given up after {attempt} attempts, the last of which ended so: {error}") from error
            wait_s = pause_s(attempt - first + 1)
            teller.warn(f"Attempt {attempt} of {MOST_ATTEMPTS}: {why}. Going on in {wait_s:.0f} s …")
            time.sleep(wait_s)
            attempt += 1
            _count(engine, job, why)


def _count(engine: sa.Engine, job: Job, why: str) -> None:
    try:
        begin_again(engine, job, why)
    except DatabaseUnreachable:
        # It may be the database that is away; the attempt itself will find out.
        _log.exception("The next attempt of job %s could not be noted", job.id)
