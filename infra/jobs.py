"""
Training jobs: the row is the truth, so a job asked for is done even when the event about it was lost.

States: queued → running → done, failed, refused (by the gate), undecided (it made a candidate that waits for labels),
declined (by the forecast) or cancelled. Whoever runs a job holds a claim on it; `infra.job_claims` keeps it alive,
gives it back, and takes it from the dead.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

import psutil
import sqlalchemy as sa

from infra import schema
from infra.clock import new_id, now
from infra.database import reading, writing
from infra.errors import UserError
from infra.ledger import append_within

OPEN = ("queued", "running")
TRAIN, RETRAIN, JUDGE = "train", "retrain", "judge"
BY_RUNNER = (RETRAIN, JUDGE)  # what the runner of `kedge up` takes; a `kedge train` goes on with its own command
STREAM = "jobs"  # of the ledger
MINUTES_BEFORE = "minutes_before"  # of `Job.evidence`


@dataclass(frozen=True)
class Job:
    """
    One training job.

    Attributes:
        kind: "train" (from the manifest), "retrain" (old and newly labelled images) or "judge" (nothing is trained: the
            gate reads for a candidate that waited for labels).
        reason: Why it was asked for: "drift", "harm", "schedule", "manual" or a person's words.
        evidence: What the watcher saw, as JSON; and, once claimed, `claimed_by`: host, pid and when that was born; and,
            once queued again or closed for a claimant that had died, `minutes_before`.
        started_at: When it was claimed last, None once its claimant is gone; what it took before that is in
            `minutes_before`.
        outcome: What came of it, as JSON: at least `version` and `promoted` when it is done.
        claim: Token of who runs it now; a later claimant has another one, and the earlier one's writes count no more.
        beat_at: The claimant's last sign of life.
        attempts: How often it was begun or begun again after a fault; who stops in good order does not count.
        cancel_asked_at: When somebody asked for its end while it ran.
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

    @property
    def is_open(self) -> bool:
        return self.state in OPEN

    @property
    def host(self) -> str:
        """The machine that claimed it last; "" before anybody did."""
        return str((self.evidence or {}).get("claimed_by", {}).get("host", ""))


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
            close_within(connection, left, "cancelled", error=why)
    in_the_way: sa.ColumnElement[bool] = schema.jobs.c.state.in_(OPEN)
    if kind == JUDGE:
        # It takes nothing from such a training, and must not wait until a person remembers that.
        in_the_way = in_the_way & ~broken_off_train()
    query = sa.select(schema.jobs).where(in_the_way).order_by(schema.jobs.c.created_at).limit(1)
    existing = connection.execute(query).mappings().first()
    if existing is not None:
        return Job(**existing)
    row = {"id": new_id(), "kind": kind, "state": "queued", "reason": reason, "created_at": now(),
           "evidence": None if evidence is None else dict(evidence)}  # fmt: skip
    connection.execute(schema.jobs.insert().values(**row))
    append_within(connection, STREAM, "asked", {"job": row["id"], "kind": kind, "reason": reason})
    return job_within(connection, str(row["id"]))


def broken_off_train() -> sa.ColumnElement[bool]:
    """The condition on `jobs` rows of a `kedge train` that waits for the same command: nobody else goes on with it."""
    return (schema.jobs.c.kind == TRAIN) & (schema.jobs.c.state == "queued")


def claim_job(engine: sa.Engine, identifier: str) -> Job | None:
    """Take a queued job: exactly one caller gets it, with a claim of its own; every other one None."""
    mine = (schema.jobs.c.id == identifier) & (schema.jobs.c.state == "queued")
    with writing(engine) as connection:
        row = connection.execute(sa.select(schema.jobs).where(mine)).mappings().first()
        if row is None:
            return None
        values = {
            "state": "running",
            "started_at": now(),
            "claim": new_id(),
            "beat_at": now(),
            "attempts": (row["attempts"] or 0) + 1,
            "evidence": {**(row["evidence"] or {}), "claimed_by": _this_process()},
        }
        connection.execute(schema.jobs.update().where(mine).values(**values))
        return job_within(connection, identifier)


def finish_job(
    engine: sa.Engine,
    identifier: str,
    state: str,
    *,
    claim: str | None = None,
    outcome: Mapping[str, Any] | None = None,
    error: str | None = None,
) -> bool:
    """
    Close an open job with its outcome, or with the message of what went wrong.

    False, and nothing is changed, where it is over, or where `claim` no longer holds it.

    claim: of who ran it; None only for who decides over the job without running it.
    """
    with writing(engine) as connection:
        if connection.execute(sa.select(schema.jobs.c.id).where(held(identifier, claim))).first() is None:
            return False
        close_within(connection, identifier, state, outcome=outcome, error=error)
        return True


def note_run_dir(engine: sa.Engine, identifier: str, run_dir: str, *, claim: str | None = None) -> bool:
    """Say where an open job keeps its files; False as for `finish_job`."""
    with writing(engine) as connection:
        noted = connection.execute(schema.jobs.update().where(held(identifier, claim)).values(run_dir=run_dir))
        return noted.rowcount == 1


def find_job(engine: sa.Engine, text: str) -> Job:
    """
    The job whose id is `text`, or the only one whose id begins or ends so.

    Raises:
        UserError: there is none, or there are several.
    """
    alike = schema.jobs.c.id.startswith(text, autoescape=True) | schema.jobs.c.id.endswith(text, autoescape=True)
    with reading(engine) as connection:
        found = connection.execute(sa.select(schema.jobs).where(alike).limit(2)).mappings().all()
    if len(found) == 1:
        return Job(**found[0])
    problem = "Several jobs have an id like" if found else "There is no job"
    raise UserError(f"{problem} '{text}'; `kedge jobs` lists them.")


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


def minutes_before(evidence: Mapping[str, Any] | None) -> float:
    """How many minutes a job was worked on before it was queued again last, by all who had it until then."""
    return float((evidence or {}).get(MINUTES_BEFORE, 0.0))


def minutes_taken(
    started_at: datetime | None, until: datetime | None, evidence: Mapping[str, Any] | None
) -> float | None:
    """How many minutes all who had a job worked on it, the last of them until `until`; None where nobody did."""
    before = minutes_before(evidence)
    if started_at is None or until is None:
        return before or None
    return before + max(0.0, (until - started_at) / timedelta(minutes=1))


def held(identifier: str, claim: str | None) -> sa.ColumnElement[bool]:
    """The condition on `jobs` rows: it is this job, it is open, and held by this claim where one is given."""
    mine = (schema.jobs.c.id == identifier) & schema.jobs.c.state.in_(OPEN)
    return mine if claim is None else mine & (schema.jobs.c.claim == claim)


def job_within(connection: sa.Connection, identifier: str) -> Job:
    """One job inside a caller's transaction."""
    row = connection.execute(sa.select(schema.jobs).where(schema.jobs.c.id == identifier)).mappings().one()
    return Job(**row)


def close_within(
    connection: sa.Connection,
    identifier: str,
    state: str,
    *,
    outcome: Mapping[str, Any] | None = None,
    error: str | None = None,
) -> None:
    """Close a job inside a caller's `writing` transaction, with its ledger row."""
    plain = None if outcome is None else dict(outcome)
    values = {"state": state, "finished_at": now(), "outcome": plain, "error": error}
    connection.execute(schema.jobs.update().where(schema.jobs.c.id == identifier).values(**values))
    append_within(connection, STREAM, state, {"job": identifier, "outcome": plain, "error": error})


def _this_process() -> dict[str, Any]:
    return {"host": os.uname().nodename, "pid": os.getpid(), "born": psutil.Process().create_time()}
