"""What decisions left behind, all of it read at one moment; nothing is judged yet."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from infra import schema
from infra.database import reading
from infra.jobs import JUDGE
from infra.ledger import LedgerRow

Row = Mapping[str, Any]

CHAMPION, CANARY, SHADOW = "champion", "canary", "shadow"
# Of the ledger; what the watch saw is a long stream, of which only what a job names is read.
_STREAMS = ("models", "jobs", "decisions", "rollouts", "retrain requests", "judge-readings")
_WATCH = "watch"


@dataclass(frozen=True)
class DecisionRows:
    """
    Rows of one model.

    Attributes:
        moves: Every change of champion, canary and shadow, by sequence within each.
        pointers: Where each points now, by its name.
        versions: By their number.
        jobs, requests, rollouts: Oldest first; without jobs that only judge once more, which belong to the story of the
            job whose version they judge.
        verdicts: Those that a job's evidence names, by their sequence.
        alarms: Those that somebody has acted on, oldest first.
        ledger: Rows of the streams that decisions are written to, by stream and sequence.
    """

    moves: tuple[Row, ...] = ()
    pointers: Mapping[str, Row] | None = None
    versions: tuple[Row, ...] = ()
    jobs: tuple[Row, ...] = ()
    requests: tuple[Row, ...] = ()
    rollouts: tuple[Row, ...] = ()
    verdicts: Mapping[int, Row] | None = None
    alarms: tuple[Row, ...] = ()
    ledger: tuple[LedgerRow, ...] = ()

    def of_alias(self, alias: str) -> tuple[Row, ...]:
        """The moves of one alias, oldest first."""
        return tuple(row for row in self.moves if row["alias"] == alias)

    def version(self, number: int) -> Row | None:
        """A version's row; None where there is none."""
        return next((row for row in self.versions if row["version"] == number), None)

    def noted(self, stream: str, kinds: Iterable[str] = ()) -> tuple[LedgerRow, ...]:
        """The ledger's rows of a stream, all or of these kinds, oldest first."""
        wanted = set(kinds)
        return tuple(row for row in self.ledger if row.stream == stream and (not wanted or row.kind in wanted))


def gather(engine: sa.Engine, name: str) -> DecisionRows:
    """Everything that was decided about the model `name`."""
    moves, versions, rollouts = schema.pointer_history, schema.model_versions, schema.rollout_runs
    requests, alarms = schema.retrain_requests, schema.alarms
    with reading(engine) as connection:
        pointers = _all(connection, sa.select(schema.pointers).where(schema.pointers.c.name == name))
        # Jobs carry no model's name: one database is one project's.
        making = sa.select(schema.jobs).where(schema.jobs.c.kind != JUDGE)
        jobs = _all(connection, making.order_by(schema.jobs.c.created_at))
        acted_on = sa.select(alarms).where(alarms.c.name == name, alarms.c.acted_on_at.is_not(None))
        return DecisionRows(
            moves=_of(connection, moves, name, moves.c.alias, moves.c.sequence),
            pointers={row["alias"]: row for row in pointers},
            versions=_of(connection, versions, name, versions.c.version),
            jobs=jobs,
            requests=_of(connection, requests, name, requests.c.at, requests.c.id),
            rollouts=_of(connection, rollouts, name, rollouts.c.sequence),
            verdicts=_verdicts(connection, name, jobs),
            alarms=_all(connection, acted_on.order_by(alarms.c.at)),
            ledger=_ledger(connection, jobs),
        )


def verdict_named(job: Row) -> int | None:
    """The sequence of the verdict that a job's evidence names."""
    named = (job["evidence"] or {}).get("verdict") if isinstance(job["evidence"], Mapping | None) else None
    return named if isinstance(named, int) else None


def _of(connection: sa.Connection, table: sa.Table, name: str, *order: sa.Column[Any]) -> tuple[Row, ...]:
    return _all(connection, sa.select(table).where(table.c.name == name).order_by(*order))


def _all(connection: sa.Connection, query: sa.Select[Any]) -> tuple[Row, ...]:
    return tuple(dict(row) for row in connection.execute(query).mappings())


def _verdicts(connection: sa.Connection, name: str, jobs: Sequence[Row]) -> dict[int, Row]:
    table = schema.verdicts
    named = [sequence for sequence in map(verdict_named, jobs) if sequence is not None]
    query = sa.select(table).where(table.c.name == name, table.c.sequence.in_(named))
    return {row["sequence"]: row for row in _all(connection, query)}


def _ledger(connection: sa.Connection, jobs: Sequence[Row]) -> tuple[LedgerRow, ...]:
    table = schema.ledger
    named = sa.cast(table.c.facts["retrain_job"].as_string(), sa.String)
    asked = (table.c.stream == _WATCH) & named.in_([job["id"] for job in jobs])
    query = sa.select(table).where(table.c.stream.in_(_STREAMS) | asked)
    return tuple(LedgerRow(**row) for row in _all(connection, query.order_by(table.c.stream, table.c.sequence)))
