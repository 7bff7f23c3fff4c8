"""Serving workers as they report themselves: which version each answers with, and whether it is alive."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from infra import schema
from infra.clock import now
from infra.database import reading

ALIVE = timedelta(seconds=10)


@dataclass(frozen=True)
class Worker:
    """One serving process; `version` is None until it has a model, `error` what it refused last."""

    id: str
    host: str
    pid: int
    slot: str
    model_name: str
    version: int | None
    error: str | None
    started_at: datetime
    seen_at: datetime
    canary_version: int | None = None
    shadow_version: int | None = None
    rollout_error: str | None = None


def live_workers(engine: sa.Engine, name: str) -> tuple[Worker, ...]:
    """The workers of a model that reported within the last ten seconds, by slot."""
    table = schema.serving_workers
    query = (
        sa.select(table)
        .where(table.c.model_name == name, table.c.seen_at >= now() - ALIVE)
        .order_by(table.c.slot, table.c.started_at)
    )
    with reading(engine) as connection:
        return tuple(Worker(**row) for row in connection.execute(query).mappings())


def hosts_since(engine: sa.Engine, name: str, moment: datetime) -> frozenset[str]:
    """The machines of which a worker of the model has reported at or after `moment`."""
    table = schema.serving_workers
    query = sa.select(table.c.host).where(table.c.model_name == name, table.c.seen_at >= moment).distinct()
    with reading(engine) as connection:
        return frozenset(connection.execute(query).scalars())
