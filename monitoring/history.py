"""What the watcher has left behind, read back: windows, verdicts, alarms, and what is open."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from infra import schema
from infra.database import reading

Row = Mapping[str, Any]


@dataclass(frozen=True)
class Standing:
    """
    How things stand, read in one moment.

    Attributes:
        champion: Version number; None before the first promotion.
        window: The newest window of any version; None before the first.
        labelled: The newest window with labels; None before the first.
        verdict: The newest; None before the first look.
        windows: Closed so far, with `predictions` in all of them.
        alarms: Raised so far, per lane.
        open_alarms: Per lane, those that nobody has acted on and that concern the champion or the watcher itself.
        jobs: Training jobs per state.
        label_requests: Labels asked for so far, per state.
        reports_failed: Pages of windows that could not be written.
        heard_at: The watcher's last sign of life.
    """

    champion: int | None
    window: Row | None
    labelled: Row | None
    verdict: Row | None
    windows: int
    predictions: int
    alarms: Mapping[str, int]
    open_alarms: Mapping[str, int]
    jobs: Mapping[str, int]
    label_requests: Mapping[str, int]
    reports_failed: int
    heard_at: datetime | None


def standing(engine: sa.Engine, name: str) -> Standing:
    """The newest of everything about the model `name`."""
    windows, alarms, jobs, reports = schema.windows, schema.alarms, schema.jobs, schema.reports
    requests = schema.label_requests
    with reading(engine) as connection:
        newest = _newest(connection, windows, name, 50)
        champion = _champion(connection, name)
        of_now = alarms.c.acted_on_at.is_(None) & (
            alarms.c.model_version.is_(None) | (alarms.c.model_version == champion)
        )
        totals = connection.execute(
            sa.select(sa.func.count(), sa.func.coalesce(sa.func.sum(windows.c.predictions), 0)).where(
                windows.c.name == name
            )
        ).one()
        return Standing(
            champion=champion,
            window=newest[0] if newest else None,
            labelled=next((row for row in newest if row["summary"].get("labelled")), None),
            verdict=next(iter(_newest(connection, schema.verdicts, name, 1)), None),
            windows=totals[0],
            predictions=int(totals[1]),
            alarms=_per(connection, alarms.c.lane, alarms.c.name == name),
            open_alarms=_per(connection, alarms.c.lane, (alarms.c.name == name) & of_now),
            jobs=_per(connection, jobs.c.state, sa.true()),
            label_requests=_per(connection, requests.c.state, requests.c.name == name),
            reports_failed=_per(
                connection, reports.c.kind, (reports.c.kind == "window") & (reports.c.object_key == "")
            ).get("window", 0),
            heard_at=connection.execute(
                sa.select(schema.heartbeats.c.at).where(schema.heartbeats.c.process == "watch")
            ).scalar(),
        )


def windows(engine: sa.Engine, name: str, last: int = 100) -> tuple[Row, ...]:
    """The newest windows, oldest first."""
    with reading(engine) as connection:
        return tuple(reversed(_newest(connection, schema.windows, name, last)))


def verdicts(engine: sa.Engine, name: str, last: int = 100) -> tuple[Row, ...]:
    """The newest verdicts, oldest first."""
    with reading(engine) as connection:
        return tuple(reversed(_newest(connection, schema.verdicts, name, last)))


def alarms(engine: sa.Engine, name: str, last: int = 100) -> tuple[Row, ...]:
    """The newest alarms, oldest first."""
    table = schema.alarms
    query = sa.select(table).where(table.c.name == name).order_by(table.c.at.desc()).limit(last)
    with reading(engine) as connection:
        return tuple(reversed([dict(row) for row in connection.execute(query).mappings()]))


def _newest(connection: sa.Connection, table: sa.Table, name: str, last: int) -> list[Row]:
    query = sa.select(table).where(table.c.name == name).order_by(table.c.sequence.desc()).limit(last)
    return [dict(row) for row in connection.execute(query).mappings()]


def _champion(connection: sa.Connection, name: str) -> int | None:
    table = schema.pointers
    query = sa.select(table.c.version).where(table.c.name == name, table.c.alias == "champion")
    version: int | None = connection.execute(query).scalar()
    return version


def _per(connection: sa.Connection, column: sa.Column[Any], where: sa.ColumnElement[bool]) -> dict[str, int]:
    query = sa.select(column, sa.func.count()).where(where).group_by(column)
    return {str(value): count for value, count in connection.execute(query).tuples()}
