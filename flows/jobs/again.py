"""Calling at once for jobs that wait for the runner: the watcher's next look would, too, but may be minutes away."""

from collections.abc import Sequence

from flows.jobs.releasing import release_dead
from flows.summons import call_for_retrain
from infra.database import open_database
from infra.jobs import BY_RUNNER, Job, open_jobs
from infra.settings import Settings


def call_for_the_dead(settings: Settings) -> tuple[str, ...]:
    """Call for those alone whose process died; one that was stopped in good order has been stopped for a reason."""
    engine = open_database(settings.storage.database)
    try:
        return _call(settings, release_dead(settings, engine))
    finally:
        engine.dispose()


def call_for_all(settings: Settings) -> tuple[str, ...]:
    """Call for every one that waits."""
    engine = open_database(settings.storage.database)
    try:
        release_dead(settings, engine)
        return _call(settings, [job for job in open_jobs(engine) if job.state == "queued"])
    finally:
        engine.dispose()


def _call(settings: Settings, waiting: Sequence[Job]) -> tuple[str, ...]:
    ours = [job for job in waiting if job.kind in BY_RUNNER]
    for job in ours:
        call_for_retrain(settings, job.id, job.attempts or 0)
    return tuple(job.id for job in ours)
