"""Requests for labels that are not kept any more: of a prediction that is forgotten, and of those past their time."""

from datetime import UTC, datetime

import sqlalchemy as sa

from infra import schema
from infra.database import reading, writing

_REQUESTS, _PLANS, _STATES = schema.label_requests, schema.label_plans, schema.watch_states


def was_exported(engine: sa.Engine, name: str, identifier: str) -> bool:
    """Whether a file with the prediction was handed to people who label."""
    query = sa.select(_REQUESTS.c.exported_at).where(
        _REQUESTS.c.name == name, _REQUESTS.c.prediction_id == identifier, _REQUESTS.c.exported_at.is_not(None)
    )
    with reading(engine) as connection:
        return connection.execute(query).first() is not None


def drop_request(engine: sa.Engine, name: str, identifier: str) -> int:
    """
    Delete what is known of the prediction as one to be labelled, and say how many rows named it.

    Others that show the same picture, and waited for its answer, wait for the first of them from now on. A watcher who
    is looking now and may still ask about it writes nothing.
    """
    mine = (_REQUESTS.c.name == name) & (_REQUESTS.c.prediction_id == identifier)
    alike = (_REQUESTS.c.name == name) & (_REQUESTS.c.same_as == identifier)
    with writing(engine) as connection:
        if connection.dialect.name == "sqlite":
            # What is deleted would else lie in free pages of the file.
            connection.exec_driver_sql("PRAGMA secure_delete = ON")
        first = connection.execute(
            sa.select(_REQUESTS.c.prediction_id).where(alike).order_by(_REQUESTS.c.predicted_at).limit(1)
        ).scalar()
        others = connection.execute(_REQUESTS.update().where(alike).values(same_as=first)).rowcount
        if first is not None:
            heir = (_REQUESTS.c.name == name) & (_REQUESTS.c.prediction_id == first)
            connection.execute(_REQUESTS.update().where(heir).values(same_as=None))
        gone = connection.execute(_REQUESTS.delete().where(mine)).rowcount
        connection.execute(_STATES.update().where(_STATES.c.name == name).values(sequence=_STATES.c.sequence + 1))
    return gone + others


def count_before(engine: sa.Engine, name: str, day: str) -> int:
    """Requests about predictions of days before this one (UTC, as 2026-11-21)."""
    query = sa.select(sa.func.count()).where(_REQUESTS.c.name == name, _REQUESTS.c.predicted_at < _start_of(day))
    with reading(engine) as connection:
        return int(connection.execute(query).scalar() or 0)


def drop_before(engine: sa.Engine, name: str, day: str) -> int:
    """Delete those, and the plans of those days but for the newest, which says how far the log was read."""
    start = _start_of(day)
    newest = sa.select(sa.func.max(_PLANS.c.sequence)).where(_PLANS.c.name == name).scalar_subquery()
    with writing(engine) as connection:
        old_plans = (_PLANS.c.name == name) & (_PLANS.c.at < start) & (_PLANS.c.sequence != newest)
        connection.execute(_PLANS.delete().where(old_plans))
        old = (_REQUESTS.c.name == name) & (_REQUESTS.c.predicted_at < start)
        return int(connection.execute(_REQUESTS.delete().where(old)).rowcount)


def _start_of(day: str) -> datetime:
    return datetime.fromisoformat(day).replace(tzinfo=UTC)
