"""Freeing the jobs of dead processes, and telling people of one that is given up because its processes keep dying."""

import sqlalchemy as sa

from flows.notify import notify
from infra.job_claims import release_abandoned
from infra.jobs import JUDGE, TRAIN, Job
from infra.settings import Settings


def release_dead(settings: Settings, engine: sa.Engine) -> tuple[Job, ...]:
    """
    Queue again what runs nowhere any more, and give that.

    One that has died as often as it may is closed instead, and has nobody left to tell of it: whoever closes it does.
    """
    released = release_abandoned(engine)
    for job in released:
        if job.state == "failed":
            notify(settings, "retrain_failed", f"{what(job)} failed: {job.error}", {"job": job.id})
    return tuple(job for job in released if job.state == "queued")


def what(job: Job) -> str:
    """What a job does, as a sentence about it begins."""
    if job.kind == JUDGE:
        return "The second reading"
    return f"`kedge train` ({job.reason})" if job.kind == TRAIN else f"Retraining for {job.reason}"
