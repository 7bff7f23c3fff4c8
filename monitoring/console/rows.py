"""What one page is made of: a single consistent read of the tables, no judgement yet."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from infra import schema
from infra.database import reading
from infra.ledger import LedgerRow
from monitoring.decisions.moves import KINDS, STREAM

Row = Mapping[str, Any]

# Enough for the charts of a day at a window every few minutes; older rows stay in the database.
MOST_WINDOWS = 288
_MOST_LISTED = 200
_MOST_REQUESTS = 1_000


@dataclass(frozen=True)
class Rows:
    """
    Rows of one model, all read at one moment.

    Attributes:
        windows: The newest MOST_WINDOWS, oldest first.
        predictions: In all windows ever closed, not only in those read.
        verdicts: The newest, oldest first.
        verdict_since: When the newest verdict's action was first given without interruption.
        alarms, promotions: Oldest first.
        noted: The ledger's rows of models, oldest first: what each promotion was.
        versions: Oldest first.
        jobs, reports: Newest first.
        heartbeats: Process name to its last sign of life.
        label_requests: The newest, oldest first.
        audits: The newest alone; windows' pages may have crowded it out of the reports.
    """

    windows: tuple[Row, ...]
    windows_ever: int
    predictions: int
    verdicts: tuple[Row, ...]
    verdict_since: datetime | None
    alarms: tuple[Row, ...]
    promotions: tuple[Row, ...]
    noted: tuple[LedgerRow, ...]
    versions: tuple[Row, ...]
    pointer: Row | None
    workers: tuple[Row, ...]
    jobs: tuple[Row, ...]
    reports: tuple[Row, ...]
    heartbeats: Mapping[str, datetime]
    watch_state: Row | None
    label_requests: tuple[Row, ...] = ()
    audits: tuple[Row, ...] = ()


def gather(engine: sa.Engine, name: str) -> Rows:
    """Everything one page shows about the model `name`."""
    windows, verdicts = schema.windows, schema.verdicts
    with reading(engine) as connection:
        return Rows(
            windows=_newest(connection, windows, windows.c.sequence, MOST_WINDOWS, windows.c.name == name),
            windows_ever=_one(connection, sa.select(sa.func.count()).where(windows.c.name == name)) or 0,
            predictions=_one(connection, sa.select(sa.func.sum(windows.c.predictions)).where(windows.c.name == name))
            or 0,
            verdicts=_newest(connection, verdicts, verdicts.c.sequence, _MOST_LISTED, verdicts.c.name == name),
            verdict_since=_verdict_since(connection, name),
            alarms=_newest(connection, schema.alarms, schema.alarms.c.at, _MOST_LISTED, schema.alarms.c.name == name),
            promotions=_newest(
                connection,
                schema.pointer_history,
                schema.pointer_history.c.sequence,
                _MOST_LISTED,
                schema.pointer_history.c.name == name,
                schema.pointer_history.c.alias == "champion",
            ),
            noted=_noted(connection),
            versions=_newest(
                connection,
                schema.model_versions,
                schema.model_versions.c.version,
                _MOST_LISTED,
                schema.model_versions.c.name == name,
            ),
            pointer=_first(
                connection,
                sa.select(schema.pointers).where(schema.pointers.c.name == name, schema.pointers.c.alias == "champion"),
            ),
            workers=_newest(
                connection,
                schema.serving_workers,
                schema.serving_workers.c.seen_at,
                _MOST_LISTED,
                schema.serving_workers.c.model_name == name,
            ),
            jobs=_newest(connection, schema.jobs, schema.jobs.c.created_at, 20)[::-1],
            reports=_newest(connection, schema.reports, schema.reports.c.at, 30)[::-1],
            heartbeats=_heartbeats(connection),
            watch_state=_first(connection, sa.select(schema.watch_states).where(schema.watch_states.c.name == name)),
            label_requests=_newest(
                connection,
                schema.label_requests,
                schema.label_requests.c.asked_at,
                _MOST_REQUESTS,
                schema.label_requests.c.name == name,
            ),
            audits=_newest(connection, schema.reports, schema.reports.c.at, 1, schema.reports.c.kind == "audit"),
        )


def is_published(engine: sa.Engine, key: str) -> bool:
    """Whether some row names this object as a page for people; nothing else of the object store is handed out."""
    # A version's training report lies beside its card, and is published with it.
    beside = f"{key.removesuffix('report.html')}card.html" if key.endswith("/report.html") else key
    mentions = (
        sa.select(sa.literal(1)).where(schema.windows.c.report_key == key),
        sa.select(sa.literal(1)).where(schema.reports.c.object_key == key),
        sa.select(sa.literal(1)).where(schema.model_versions.c.card_key == beside),
    )
    with reading(engine) as connection:
        return any(_first(connection, query.limit(1)) for query in mentions)


def _newest(
    connection: sa.Connection, table: sa.Table, order: sa.Column[Any], most: int, *where: sa.ColumnElement[bool]
) -> tuple[Row, ...]:
    query = sa.select(table).where(*where).order_by(order.desc()).limit(most)
    return tuple(reversed([dict(row) for row in connection.execute(query).mappings()]))


def _noted(connection: sa.Connection) -> tuple[LedgerRow, ...]:
    table = schema.ledger
    of_moves = table.c.kind.in_(KINDS)
    found = _newest(connection, table, table.c.sequence, _MOST_LISTED, table.c.stream == STREAM, of_moves)
    return tuple(LedgerRow(**row) for row in found)


def _first(connection: sa.Connection, query: sa.Select[Any]) -> Row | None:
    row = connection.execute(query).mappings().first()
    return None if row is None else dict(row)


def _one(connection: sa.Connection, query: sa.Select[Any]) -> int | None:
    value: int | None = connection.execute(query).scalar()
    return value


def _verdict_since(connection: sa.Connection, name: str) -> datetime | None:
    table = schema.verdicts
    newest = _first(connection, sa.select(table).where(table.c.name == name).order_by(table.c.sequence.desc()).limit(1))
    if newest is None:
        return None
    # The last verdict that said something else; the action has stood since the one after it.
    other = _one(
        connection,
        sa.select(sa.func.max(table.c.sequence)).where(table.c.name == name, table.c.action != newest["action"]),
    )
    start = _first(
        connection,
        sa.select(table.c.at)
        .where(table.c.name == name, table.c.sequence > (other if other is not None else -1))
        .order_by(table.c.sequence)
        .limit(1),
    )
    return None if start is None else start["at"]


def _heartbeats(connection: sa.Connection) -> dict[str, datetime]:
    return {row.process: row.at for row in connection.execute(sa.select(schema.heartbeats))}
