"""What a decision reads from rows, and what it leaves behind: within the transaction of the look that makes it."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from itertools import takewhile
from statistics import median
from typing import Any

import sqlalchemy as sa

from infra import schema
from infra.database import reading
from infra.jobs import JUDGE, OPEN, RETRAIN, TRAIN, broken_off_train, minutes_taken
from models.rollout_runs import EXPIRED, PROBATION, ROLLED_BACK, STOPPED, WAITING
from monitoring.policies.records import Audited, Behind, JobsSoFar, WaitingCandidate

_WEEK, _MONTH = timedelta(days=7), timedelta(days=30)
# Of so many jobs the median is what the next will cost; older ones had other data.
_USUAL_OF = 5
_FINISHED = ("done", "refused", "undecided")
# These never trained: a micro-run, and one that nobody took.
_UNTRIED = ("declined", "cancelled")
_CAME_TO_NOTHING = ("refused", "declined")
_SENT_BACK = (STOPPED, ROLLED_BACK, EXPIRED)
_MOST_AUDITS = 20
_MOST_FAILURES = 20


def jobs_within(connection: sa.Connection, name: str, at: datetime) -> JobsSoFar:
    """Training jobs, and the rollout of what the last one made, as they stand in this transaction."""
    jobs = schema.jobs
    in_the_way = jobs.c.state.in_(OPEN) & ~broken_off_train()
    oldest = sa.select(jobs.c.id, jobs.c.kind).where(in_the_way).order_by(jobs.c.created_at).limit(1)
    waiting = connection.execute(oldest).first()
    ended = connection.execute(sa.select(sa.func.max(jobs.c.finished_at)).where(jobs.c.kind == RETRAIN)).scalar()
    recent = sa.select(jobs).where((jobs.c.created_at >= at - _WEEK) | (jobs.c.finished_at >= at - _MONTH))
    rows = connection.execute(recent.order_by(jobs.c.created_at)).mappings().all()
    usual = _usual(connection)
    return JobsSoFar(
        open="" if waiting is None else str(waiting.id),
        judging=waiting is not None and waiting.kind == JUDGE,
        rolling_out=_rolling_out(connection, name),
        waiting=_waiting(connection, name),
        last_ended=ended,
        failures=_failures(connection),
        asked=tuple(row["created_at"] for row in rows if _counts(row, at)),
        trained=tuple(sorted((row["finished_at"], _minutes(row)) for row in rows if _ran(row))),
        usual_minutes=median(usual) if usual else None,
        usual_of=len(usual),
    )


def refused_at(engine: sa.Engine, name: str, since: datetime) -> datetime | None:
    """
    When the newest candidate since then was begun that came to nothing.

    The gate refused it, the forecast spared it, or it was not kept by its rollout: more of the same labels would end
    in the same way, so those that count came later.
    """
    jobs, runs = schema.jobs, schema.rollout_runs
    refused = (jobs.c.kind == RETRAIN) & jobs.c.state.in_(_CAME_TO_NOTHING) & (jobs.c.created_at >= since)
    sent_back = (runs.c.name == name) & runs.c.stage.in_(_SENT_BACK) & (runs.c.started_at >= since)
    with reading(engine) as connection:
        moments = (
            connection.execute(sa.select(sa.func.max(jobs.c.created_at)).where(refused)).scalar(),
            connection.execute(sa.select(sa.func.max(runs.c.started_at)).where(sent_back)).scalar(),
        )
    return max((moment for moment in moments if moment is not None), default=None)


def newest_audit(engine: sa.Engine, name: str, version: int) -> Audited | None:
    """The newest audit of that version whose labels may measure, or else the newest; None before the first."""
    reports = schema.reports
    query = sa.select(reports.c.at, reports.c.facts).where(reports.c.kind == "audit")
    with reading(engine) as connection:
        rows = connection.execute(query.order_by(reports.c.id.desc()).limit(_MOST_AUDITS)).all()
    # A person may have audited other versions since; and one of before has not written who lies behind.
    mine = [row for row in rows if _is_about(row.facts, name, version)]
    found = [
        Audited(row.at, tuple(Behind(**one) for one in row.facts["behind"]), row.facts.get("warning", ""))
        for row in mine
    ]
    return next((one for one in found if not one.warning), found[0] if found else None)


def _is_about(facts: Mapping[str, Any], name: str, version: int) -> bool:
    return facts.get("name") == name and facts.get("model_version") == version and "behind" in facts


def _failures(connection: sa.Connection) -> int:
    jobs = schema.jobs
    ended = (jobs.c.kind == RETRAIN) & jobs.c.finished_at.is_not(None)
    query = sa.select(jobs.c.state).where(ended).order_by(jobs.c.finished_at.desc()).limit(_MOST_FAILURES)
    return sum(1 for _ in takewhile(lambda state: state == "failed", connection.execute(query).scalars()))


def _rolling_out(connection: sa.Connection, name: str) -> str:
    runs = schema.rollout_runs
    # A version in probation is champion already: what harms now is its own.
    under_way = (runs.c.name == name) & runs.c.ended_at.is_(None) & runs.c.stage.not_in((PROBATION, WAITING))
    query = sa.select(runs.c.version, runs.c.stage).where(under_way).order_by(runs.c.sequence.desc()).limit(1)
    found = connection.execute(query).first()
    return "" if found is None else f"version {found.version} is in {found.stage}"


def _waiting(connection: sa.Connection, name: str) -> WaitingCandidate | None:
    runs, versions = schema.rollout_runs, schema.model_versions
    made = (versions.c.name == runs.c.name) & (versions.c.version == runs.c.version)
    query = sa.select(runs.c.version, versions.c.reason, runs.c.words).join_from(runs, versions, made)
    waits = query.where(runs.c.name == name, runs.c.ended_at.is_(None), runs.c.stage == WAITING)
    found = connection.execute(waits.order_by(runs.c.sequence.desc()).limit(1)).first()
    return None if found is None else WaitingCandidate(found.version, found.reason, found.words)


def _counts(row: sa.RowMapping, at: datetime) -> bool:
    tried = row["state"] not in _UNTRIED or (row["state"] == "cancelled" and _was_begun(row))
    return bool(row["kind"] == RETRAIN and row["created_at"] >= at - _WEEK and tried)


def _ran(row: sa.RowMapping) -> bool:
    return bool(row["kind"] != JUDGE and _was_begun(row) and row["finished_at"] is not None)


def _was_begun(row: sa.RowMapping) -> bool:
    # One that ended while it waited to be gone on with, or was closed for the dead, has no start any more.
    return minutes_taken(row["started_at"], row["finished_at"], row["evidence"]) is not None


def _minutes(row: sa.RowMapping) -> float:
    """What it took in all, by whoever had it."""
    return minutes_taken(row["started_at"], row["finished_at"], row["evidence"]) or 0.0


def _usual(connection: sa.Connection) -> Sequence[float]:
    """Minutes of the newest finished retrains; before the first, of the training that made the champion."""
    jobs = schema.jobs
    for kind in (RETRAIN, TRAIN):
        done = (jobs.c.kind == kind) & jobs.c.state.in_(_FINISHED) & jobs.c.started_at.is_not(None)
        query = sa.select(jobs.c.started_at, jobs.c.finished_at, jobs.c.evidence).where(
            done, jobs.c.finished_at.is_not(None)
        )
        rows = connection.execute(query.order_by(jobs.c.finished_at.desc()).limit(_USUAL_OF)).mappings().all()
        if rows:
            return [_minutes(row) for row in rows]
    return []
