"""
Training jobs: the row is the truth, so a job asked for is done even when the event about it was lost.

States: queued → running → done, failed, refused (by the gate) or cancelled.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import psutil
import sqlalchemy as sa

from infra import schema
from infra.clock import new_id, now
from infra.database import reading, writing
from infra.ledger import append_within

OPEN = ("queued", "running")
_STREAM = "jobs"  # of the ledger
TRAIN, RETRAIN = "train", "retrain"
_SAME_BIRTH_S = 2.0  # a process's start is told to a hundredth, but moves with the machine's clock


@dataclass(frozen=True)
class Job:
    """
    One training job.

    Attributes:
        kind: "train" (from the manifest) or "retrain" (old and newly labelled images).
        reason: Why it was asked for: "drift", "harm", "schedule", "manual" or a person's words.
        evidence: What the watcher saw, as JSON.
        outcome: What came of it, as JSON: at least `version` and `promoted` when it is done.
    """

    id: str
    kind: str
    state: str
    reason: str
    evidence: Mapping[str, Any] | None
    created_at: datetime
    started_at: datetime | None
    finished_at: datetime | None
    run_dir: str | None
    outcome: Mapping[str, Any] | None
    error: str | None
    claim: str | None = None
    beat_at: datetime | None = None
    attempts: int | None = None
    cancel_asked_at: datetime | None = None


def queue_job(engine: sa.Engine, kind: str, reason: str, evidence: Mapping[str, Any] | None = None) -> Job:
    """
    Ask for a job; while one is open, that one is returned and nothing is added.

    A `kedge train` that was broken off is nobody's any more once a retrain is asked for: it is cancelled.
    """
    with writing(engine) as connection:
        return queue_job_within(connection, kind, reason, evidence)


def queue_job_within(
    connection: sa.Connection, kind: str, reason: str, evidence: Mapping[str, Any] | None = None
) -> Job:
    """The same inside a caller's `writing` transaction."""
    if kind == RETRAIN:
        # Only the same command would go on with it, and until then no drift could retrain anything.
        why = "broken off; a retrain was asked for instead"
        for left in connection.execute(sa.select(schema.jobs.c.id).where(broken_off_train())).scalars().all():
            _close(connection, left, {"state": "cancelled", "finished_at": now(), "error": why})
    existing = (
        connection.execute(
            sa.select(schema.jobs).where(schema.jobs.c.state.in_(OPEN)).order_by(schema.jobs.c.created_at).limit(1)
        )
        .mappings()
        .first()
    )
    if existing is not None:
        return Job(**existing)
    row = {"id": new_id(), "kind": kind, "state": "queued", "reason": reason, "created_at": now(),
           "evidence": None if evidence is None else dict(evidence)}  # fmt: skip
    connection.execute(schema.jobs.insert().values(**row))
    append_within(connection, _STREAM, "asked", {"job": row["id"], "kind": kind, "reason": reason})
    return _job(connection, str(row["id"]))


def broken_off_train() -> sa.ColumnElement[bool]:
    """The condition on `jobs` rows of a `kedge train` that waits for the same command: nobody else goes on with it."""
    return (schema.jobs.c.kind == TRAIN) & (schema.jobs.c.state == "queued")


def claim_job(engine: sa.Engine, identifier: str) -> Job | None:
    """Take a queued job: exactly one caller gets it, every other one None."""
    with writing(engine) as connection:
        taken = connection.execute(
            schema.jobs.update()
            .where(schema.jobs.c.id == identifier, schema.jobs.c.state == "queued")
            .values(state="running", started_at=now(), evidence=_with_pid(connection, identifier))
        )
        return _job(connection, identifier) if taken.rowcount == 1 else None


def finish_job(
    engine: sa.Engine,
    identifier: str,
    state: str,
    *,
    outcome: Mapping[str, Any] | None = None,
    error: str | None = None,
) -> None:
    """Close a job with its outcome, or with the message of what went wrong."""
    values = {"state": state, "finished_at": now(), "outcome": None if outcome is None else dict(outcome)}
    with writing(engine) as connection:
        _close(connection, identifier, {**values, "error": error})


def note_run_dir(engine: sa.Engine, identifier: str, run_dir: str) -> None:
    """Say where a running job keeps its files."""
    with writing(engine) as connection:
        connection.execute(schema.jobs.update().where(schema.jobs.c.id == identifier).values(run_dir=run_dir))


def jobs(engine: sa.Engine, last: int = 20) -> tuple[Job, ...]:
    """The newest jobs, newest first."""
    query = sa.select(schema.jobs).order_by(schema.jobs.c.created_at.desc()).limit(last)
    with reading(engine) as connection:
        return tuple(Job(**row) for row in connection.execute(query).mappings())


def open_jobs(engine: sa.Engine) -> tuple[Job, ...]:
    """Jobs that are queued or running, oldest first."""
    query = sa.select(schema.jobs).where(schema.jobs.c.state.in_(OPEN)).order_by(schema.jobs.c.created_at)
    with reading(engine) as connection:
        return tuple(Job(**row) for row in connection.execute(query).mappings())


def release_abandoned(engine: sa.Engine) -> tuple[Job, ...]:
    """
    Queue again what runs nowhere any more: the process that claimed it, on this machine, is gone.

    Without this a killed runner would leave its job open, and no other could ever start.
    """
    # Looked at and released in one transaction: between two, another process might release and claim it anew.
    with writing(engine) as connection:
        running = connection.execute(sa.select(schema.jobs).where(schema.jobs.c.state == "running")).mappings()
        abandoned = tuple(job for job in [Job(**row) for row in running] if not _is_alive(job))
        gone = [job.id for job in abandoned]
        connection.execute(
            schema.jobs.update().where(schema.jobs.c.id.in_(gone)).values(state="queued", started_at=None)
        )
        for job in abandoned:
            append_within(connection, _STREAM, "released", {"job": job.id})
    return abandoned


def _close(connection: sa.Connection, identifier: str, values: Mapping[str, Any]) -> None:
    connection.execute(schema.jobs.update().where(schema.jobs.c.id == identifier).values(**values))
    facts = {"job": identifier, "outcome": values.get("outcome"), "error": values["error"]}
    append_within(connection, _STREAM, values["state"], facts)


def _with_pid(connection: sa.Connection, identifier: str) -> dict[str, Any]:
    evidence = connection.execute(sa.select(schema.jobs.c.evidence).where(schema.jobs.c.id == identifier)).scalar()
    claimed_by = {"host": os.uname().nodename, "pid": os.getpid(), "born": psutil.Process().create_time()}
    return {**(evidence or {}), "claimed_by": claimed_by}


def _is_alive(job: Job) -> bool:
    claimed = (job.evidence or {}).get("claimed_by", {})
    if claimed.get("host") != os.uname().nodename:
        return True  # another machine's process cannot be seen from here
    try:
        process = psutil.Process(claimed["pid"])
        # A restarted container gives the same numbers again: it is the same process only if it is as old.
        same = abs(process.create_time() - claimed["born"]) < _SAME_BIRTH_S
        return same and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _job(connection: sa.Connection, identifier: str) -> Job:
    row = connection.execute(sa.select(schema.jobs).where(schema.jobs.c.id == identifier)).mappings().one()
    return Job(**row)
