"""
What is to be forgotten: a row for each request, which itself forgets whom it was about when it is done.

While a request is open its row names the prediction, for the work has to find it. Everything that outlives the work
names a pseudonym instead: HMAC-SHA-256 of the prediction's id with a key of 32 random bytes that is in this row alone.
At the end id and key are overwritten. Then nobody can tell any more which id a pseudonym stands for, not even by
trying ids that he knows, and yet the ledger's chain stays whole.
"""

import hashlib
import hmac
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from infra import schema
from infra.clock import new_id, now
from infra.database import reading, writing
from infra.ledger import append_within

OPEN, DONE = "open", "done"
STREAM = "keeping"  # of the ledger
_TABLE = schema.forgettings


@dataclass(frozen=True)
class Forgetting:
    """
    One request.

    Attributes:
        prediction_id, pseudonym_key: Only while it is open.
        pseudonym: How the ledger names it, 64 hex digits.
        state: "open" or "done".
        steps: What is done, by name, with what came of it; once it is over, counts and sentences alone.
    """

    id: str
    prediction_id: str | None
    pseudonym_key: str | None
    pseudonym: str
    state: str
    steps: Mapping[str, Any]
    created_at: datetime
    finished_at: datetime | None


def ask_to_forget(engine: sa.Engine, prediction_id: str, actor: str) -> Forgetting:
    """Write the request down; one that is open for the same id is returned as it is."""
    with writing(engine) as connection:
        same = sa.select(_TABLE).where(_TABLE.c.prediction_id == prediction_id, _TABLE.c.state == OPEN)
        found = connection.execute(same).mappings().first()
        if found is not None:
            return Forgetting(**found)
        key = secrets.token_hex(32)
        row: dict[str, Any] = {
            "id": new_id(),
            "prediction_id": prediction_id,
            "pseudonym_key": key,
            "pseudonym": pseudonym(prediction_id, key),
            "state": OPEN,
            "steps": {},
            "created_at": now(),
            "finished_at": None,
        }
        connection.execute(_TABLE.insert().values(**row))
        append_within(connection, STREAM, "asked to forget", {"pseudonym": row["pseudonym"]}, actor)
    return Forgetting(**row)


def open_forgettings(engine: sa.Engine) -> tuple[Forgetting, ...]:
    """Requests that are not finished, oldest first."""
    return _rows(engine, sa.select(_TABLE).where(_TABLE.c.state == OPEN).order_by(_TABLE.c.created_at, _TABLE.c.id))


def all_forgettings(engine: sa.Engine) -> tuple[Forgetting, ...]:
    """Every request, newest first."""
    return _rows(engine, sa.select(_TABLE).order_by(_TABLE.c.created_at.desc(), _TABLE.c.id.desc()))


def ids_to_forget(engine: sa.Engine) -> frozenset[str]:
    """The prediction ids that must not be written anywhere now."""
    with reading(engine) as connection:
        found = connection.execute(sa.select(_TABLE.c.prediction_id).where(_TABLE.c.state == OPEN)).scalars()
        return frozenset(found.all())


def note_step(engine: sa.Engine, identifier: str, step: str, facts: Mapping[str, Any]) -> Forgetting:
    """Say that a step is done and what came of it; gives the request as it is now."""
    with writing(engine) as connection:
        _overwrite(connection)
        query = sa.select(_TABLE).where(_TABLE.c.id == identifier)
        before = Forgetting(**connection.execute(query).mappings().one())
        steps = {**before.steps, step: dict(facts)}
        connection.execute(_TABLE.update().where(_TABLE.c.id == identifier, _TABLE.c.state == OPEN).values(steps=steps))
        return Forgetting(**connection.execute(query).mappings().one())


def note_dropped(engine: sa.Engine, dropped: Mapping[str, Mapping[str, int]]) -> None:
    """Add to the open requests what a shipper kept from the tables: by id, then by table."""
    with writing(engine) as connection:
        _overwrite(connection)
        for prediction_id, counts in dropped.items():
            mine = (_TABLE.c.prediction_id == prediction_id) & (_TABLE.c.state == OPEN)
            steps = connection.execute(sa.select(_TABLE.c.steps).where(mine)).scalar()
            if steps is not None:
                before = steps.get("dropped", {})
                together = {name: before.get(name, 0) + count for name, count in counts.items()}
                connection.execute(_TABLE.update().where(mine).values(steps={**steps, "dropped": together}))


def finish_forgetting(engine: sa.Engine, identifier: str, outcome: Mapping[str, Any], actor: str) -> Forgetting:
    """
    Destroy the id and the key, and leave `outcome` in the row and in the ledger; once, however often it is called.

    outcome: plain JSON that says nothing of the person: counts and sentences.
    """
    mine = _TABLE.c.id == identifier
    destroyed = {"prediction_id": None, "pseudonym_key": None, "state": DONE, "finished_at": now()}
    with writing(engine) as connection:
        _overwrite(connection)
        closed = connection.execute(
            _TABLE.update().where(mine, _TABLE.c.state == OPEN).values(**destroyed, steps={"outcome": dict(outcome)})
        )
        row = Forgetting(**connection.execute(sa.select(_TABLE).where(mine)).mappings().one())
        if closed.rowcount == 1:
            append_within(connection, STREAM, "forgotten", {"pseudonym": row.pseudonym, **outcome}, actor)
    _empty_journal(engine)
    return row


def pseudonym(prediction_id: str, key: str) -> str:
    """HMAC-SHA-256 of the id, in hex; key: 64 hex digits."""
    return hmac.new(bytes.fromhex(key), prediction_id.encode(), hashlib.sha256).hexdigest()


def _rows(engine: sa.Engine, query: sa.Select[Any]) -> tuple[Forgetting, ...]:
    with reading(engine) as connection:
        return tuple(Forgetting(**row) for row in connection.execute(query).mappings())


def _overwrite(connection: sa.Connection) -> None:
    """SQLite leaves what was deleted in its file, in pages that are free; this has it written over with zeros."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("PRAGMA secure_delete = ON")


def _empty_journal(engine: sa.Engine) -> None:
    """Older pages also lie in SQLite's journal until it is used again; a reader at work may keep it a little longer."""
    if engine.dialect.name == "sqlite":
        raw = engine.raw_connection()
        try:
            raw.driver_connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()  # type: ignore[union-attr]
        finally:
            raw.close()
