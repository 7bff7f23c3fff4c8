"""
The claim on a running job: kept by signs of life, given back in good order, and taken from whoever died with it.

On this machine the table of processes tells at once who is dead. Of another machine only its signs of life are seen:
after `SILENT_S` without one the job is anybody's, and by then its claimant must have stopped by itself. A claimant
that cannot reach the database counts those seconds too (`FENCED_S`): it cannot know whether it still holds the job.
Method: leases, C. Gray and D. Cheriton, SOSP 1989; the claim is the fencing token.
"""

import os
from datetime import datetime, timedelta

import psutil
import sqlalchemy as sa

from infra import schema
from infra.clock import now
from infra.database import reading, writing
from infra.jobs import MINUTES_BEFORE, RETRAIN, STREAM, TRAIN, Job, close_within, held, job_within, minutes_taken
from infra.ledger import append_within

SILENT_S = 180.0
FENCED_S = 150.0
MOST_ATTEMPTS = 4  # the first, and three more
_SAME_BIRTH_S = 2.0  # a process's start is told to a hundredth, but moves with the machine's clock


def beat(engine: sa.Engine, job: Job) -> bool:
    """Say that the claimant lives; False when it has lost the job."""
    with writing(engine) as connection:
        beaten = connection.execute(schema.jobs.update().where(held(job.id, job.claim)).values(beat_at=now()))
        return beaten.rowcount == 1


def standing(engine: sa.Engine, job: Job) -> Job | None:
    """The job as it stands now; None when its claimant has lost it."""
    with reading(engine) as connection:
        row = connection.execute(sa.select(schema.jobs).where(held(job.id, job.claim))).mappings().first()
    return None if row is None else Job(**row)


def begin_again(engine: sa.Engine, job: Job, why: str) -> Job | None:
    """Count one more attempt of the claimant's own after a fault; None when it has lost the job."""
    with writing(engine) as connection:
        attempts = job_within(connection, job.id).attempts or 0
        again = schema.jobs.update().where(held(job.id, job.claim)).values(attempts=attempts + 1, beat_at=now())
        if connection.execute(again).rowcount == 0:
            return None
        append_within(connection, STREAM, "retried", {"job": job.id, "attempt": attempts + 1, "why": why})
        return job_within(connection, job.id)


def hand_back(engine: sa.Engine, job: Job, why: str) -> bool:
    """
    Queue a job again whose claimant stops in good order: it goes on from its checkpoint, and no attempt is counted.

    One whose end was asked for is closed instead. False when it was lost before.
    """
    with writing(engine) as connection:
        row = connection.execute(sa.select(schema.jobs).where(held(job.id, job.claim))).mappings().first()
        if row is None:
            return False
        mine = Job(**row)
        if mine.cancel_asked_at is not None:
            close_within(connection, job.id, "cancelled", error="cancelled while it ran")
        else:
            _note_worked(connection, mine, now())
            _queue_again(connection, mine, why, max(0, (mine.attempts or 1) - 1))
        return True


def ask_cancel(engine: sa.Engine, job: Job, actor: str) -> Job:
    """
    Ask for a job's end, and give it as it stands then: closed, if nobody runs it.

    Whoever runs it, here or elsewhere, sees the wish within seconds, stops its processes and closes it.
    """
    why = f"cancelled by {actor}"
    with writing(engine) as connection:
        now_is = job_within(connection, job.id)
        if now_is.state == "queued":
            close_within(connection, job.id, "cancelled", error=why)
        elif now_is.is_open and now_is.cancel_asked_at is None:
            connection.execute(schema.jobs.update().where(schema.jobs.c.id == job.id).values(cancel_asked_at=now()))
            append_within(connection, STREAM, "cancel_asked", {"job": job.id}, actor)
        return job_within(connection, job.id)


def release_abandoned(engine: sa.Engine, silent_s: float = SILENT_S) -> tuple[Job, ...]:
    """
    Queue again what runs nowhere any more: its process is gone from this machine, or its machine has fallen silent.

    Without this a killed runner would leave its job open, and no other could ever start. A job whose end was asked
    for is closed instead, as cancelled, and so is one whose processes have died as often as it may begin, as failed.

    Returns:
        What was released, as it stands now: each death is seen by one caller alone.
    """
    # Looked at and released in one transaction: between two, another process might release and claim it anew.
    with writing(engine) as connection:
        rows = connection.execute(sa.select(schema.jobs).where(schema.jobs.c.state == "running")).mappings().all()
        gone = [(job, why) for job in (Job(**row) for row in rows) if (why := _why_gone(job, silent_s, now()))]
        return tuple(_release(connection, job, why) for job, why in gone)


def _release(connection: sa.Connection, job: Job, why: str) -> Job:
    attempts = job.attempts or 0
    # Whoever finds it may come hours later: it worked until its last sign of life, however it goes on.
    _note_worked(connection, job, job.beat_at or job.started_at)
    if job.cancel_asked_at is not None:
        close_within(connection, job.id, "cancelled", error=f"cancelled; {why}")
    elif attempts >= MOST_ATTEMPTS:
        words = f"given up after {attempts} attempts, the last of which ended so: {why}. See its logs in {job.run_dir}"
        anew = TRAIN if job.kind == TRAIN else RETRAIN
        close_within(connection, job.id, "failed", error=f"{words}; `kedge {anew}` asks anew.")
    else:
        _queue_again(connection, job, why, attempts)
    return job_within(connection, job.id)


def _note_worked(connection: sa.Connection, job: Job, until: datetime | None) -> None:
    """Its claimant is gone: what it worked on the job counts, and no minute after that."""
    minutes = minutes_taken(job.started_at, until, job.evidence) or 0.0
    values = {"started_at": None, "evidence": {**(job.evidence or {}), MINUTES_BEFORE: minutes}}
    connection.execute(schema.jobs.update().where(schema.jobs.c.id == job.id).values(**values))


def _queue_again(connection: sa.Connection, job: Job, why: str, attempts: int) -> None:
    values = {"state": "queued", "claim": None, "beat_at": None, "attempts": attempts}
    connection.execute(schema.jobs.update().where(schema.jobs.c.id == job.id).values(**values))
    append_within(connection, STREAM, "released", {"job": job.id, "why": why})


def _why_gone(job: Job, silent_s: float, at: datetime) -> str:
    """In words; "" for a job whose process is, or may be, alive."""
    claimed = (job.evidence or {}).get("claimed_by", {})
    if claimed.get("host") == os.uname().nodename:
        return "" if _is_alive(claimed["pid"], claimed["born"]) else f"its process {claimed['pid']} is gone"
    heard = job.beat_at or job.started_at
    # Another machine's process cannot be seen from here.
    if heard is None or at - heard < timedelta(seconds=silent_s):
        return ""
    return f"{job.host or 'its machine'} has given no sign of life for {(at - heard).total_seconds():.0f} s"


def _is_alive(pid: int, born: float) -> bool:
    try:
        process = psutil.Process(pid)
        # A restarted container gives the same numbers again: it is the same process only if it is as old.
        same = abs(process.create_time() - born) < _SAME_BIRTH_S
        return bool(same and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
