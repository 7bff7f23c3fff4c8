"""The champions of one model name: who is champion, who was when, and how one follows another."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from infra import schema
from infra.clock import now
from infra.database import reading, writing
from infra.errors import UserError
from infra.ledger import append_within

CHAMPION = "champion"
# The state of a version that was promoted, did worse than it was judged, and was sent back by itself.
DISAPPOINTED = "disappointed"


@dataclass(frozen=True)
class Promotion:
    """One change of the champion pointer; `previous_version` is None for the first."""

    sequence: int
    version: int
    previous_version: int | None
    changed_at: datetime
    actor: str
    reason: str


class Champions:
    """The pointer that says which version serves; each move is one transaction with its history and ledger row."""

    def __init__(self, engine: sa.Engine, name: str) -> None:
        self.engine, self.name = engine, name

    def current(self) -> int | None:
        """The champion's number, None before the first: one small read, for workers that ask four times a second."""
        with reading(self.engine) as connection:
            return self._pointer(connection)[0]

    def history(self) -> tuple[Promotion, ...]:
        """Every change of the champion, oldest first, without gaps."""
        table = schema.pointer_history
        with reading(self.engine) as connection:
            rows = connection.execute(sa.select(table).where(_of(table, self.name)).order_by(table.c.sequence))
            return tuple(_promotion(row) for row in rows.mappings())

    def promote(self, version: int, *, actor: str, reason: str) -> Promotion:
        """
        Point the champion alias at `version`.

        Raises:
            UserError: the version does not exist.
        """
        with writing(self.engine) as connection:
            self._check_exists(connection, version)
            current, before = self._pointer(connection)
            # Promoting the champion again keeps the way back: a pointer never names itself as its previous.
            previous = before if current == version else current
            return self._move(connection, version, previous, actor, reason, "promoted")

    def promote_over(self, version: int, champion: int | None, *, actor: str, reason: str) -> Promotion | None:
        """
        The same as `promote`, but only over that champion (None = over nobody); None, and nothing moves, where
        another version is champion: what two processes want to promote at once is promoted once.
        """
        with writing(self.engine) as connection:
            current, _ = self._pointer(connection)
            if current != champion:
                return None
            return self._move(connection, version, current, actor, reason, "promoted")

    def rollback(self, *, actor: str, reason: str) -> Promotion:
        """
        Point the champion alias back at the version before; a second call goes one further back.

        Raises:
            UserError: there is no champion, or none before it.
        """
        with writing(self.engine) as connection:
            _, target = self._pointer(connection)
            if target is None:
                raise UserError(
                    f"{self.name} cannot go back: no version was champion before. "
                    "`kedge models` lists the versions; `kedge promote N` chooses one."
                )
            return self._move_back(connection, target, actor, reason)

    def send_back(self, version: int, *, actor: str, reason: str) -> Promotion | None:
        """
        Roll back from `version` and mark it as disappointing; None, and nothing moves, where it is not champion or
        no version was champion before.
        """
        with writing(self.engine) as connection:
            current, target = self._pointer(connection)
            if current != version or target is None:
                return None
            promotion = self._move_back(connection, target, actor, reason)
            self._set_state(connection, version, DISAPPOINTED)
            return promotion

    def put_back(self, promotion: Promotion, *, actor: str, reason: str) -> Promotion | None:
        """
        Undo `promotion`: champion and way back become what they were before it.

        None, and nothing is moved, where it was the first of all or where the pointer has moved on since: somebody
        else's later choice is not undone.
        """
        table = schema.pointer_history
        since = _of(table, self.name) & (table.c.sequence >= promotion.sequence - 1)
        with writing(self.engine) as connection:
            rows = connection.execute(sa.select(table).where(since).order_by(table.c.sequence)).mappings().all()
            if [row["sequence"] for row in rows] != [promotion.sequence - 1, promotion.sequence]:
                return None
            before = _promotion(rows[0])
            return self._move(connection, before.version, before.previous_version, actor, reason, "put back")

    def _check_exists(self, connection: sa.Connection, version: int) -> None:
        table = schema.model_versions
        query = sa.select(table.c.version).where(table.c.name == self.name).order_by(table.c.version)
        known = connection.execute(query).scalars().all()
        if version not in known:
            raise no_such_version(self.name, version, known)

    def _pointer(self, connection: sa.Connection) -> tuple[int | None, int | None]:
        """The champion, and the version that a rollback leads to."""
        table = schema.pointers
        query = sa.select(table.c.version, table.c.previous_version).where(_of(table, self.name))
        row = connection.execute(query).first()
        return (row.version, row.previous_version) if row else (None, None)

    def _move_back(self, connection: sa.Connection, target: int, actor: str, reason: str) -> Promotion:
        # What the target itself had replaced: otherwise a second rollback would return to the bad one.
        table = schema.pointer_history
        reigns = _of(table, self.name) & (table.c.version == target)
        query = sa.select(table.c.previous_version).where(reigns).order_by(table.c.sequence)
        previous = connection.execute(query).scalars().first()
        return self._move(connection, target, previous, actor, reason, "rolled back")

    def _move(
        self, connection: sa.Connection, version: int, previous: int | None, actor: str, reason: str, kind: str
    ) -> Promotion:
        current, _ = self._pointer(connection)
        table, history = schema.pointers, schema.pointer_history
        newest = sa.select(sa.func.max(history.c.sequence)).where(_of(history, self.name))
        sequence = (connection.execute(newest).scalar() or 0) + 1
        values = {"version": version, "previous_version": previous, "changed_at": now(), "sequence": sequence}
        connection.execute(table.delete().where(_of(table, self.name)))
        connection.execute(table.insert().values(name=self.name, alias=CHAMPION, **values))
        row = {"name": self.name, "alias": CHAMPION, **values, "actor": actor, "reason": reason}
        connection.execute(history.insert().values(**row))
        if current is not None and current != version:
            self._set_state(connection, current, "retired")
        self._set_state(connection, version, CHAMPION)
        facts = {"version": version, "previous_version": previous, "reason": reason}
        append_within(connection, "models", kind, facts, actor)
        return _promotion(row)

    def _set_state(self, connection: sa.Connection, version: int, state: str) -> None:
        table = schema.model_versions
        mine = (table.c.name == self.name) & (table.c.version == version)
        connection.execute(table.update().where(mine).values(state=state))


def no_such_version(name: str, number: int, known: Iterable[int]) -> UserError:
    """What is told to a person who names a version that was never registered."""
    listed = ", ".join(str(version) for version in known) or "none yet"
    return UserError(f"{name} has no version {number}; there are: {listed}. `kedge models` lists them.")


def _of(table: sa.Table, name: str) -> sa.ColumnElement[bool]:
    return (table.c.name == name) & (table.c.alias == CHAMPION)


def _promotion(row: Mapping[Any, Any]) -> Promotion:
    fields = ("sequence", "version", "previous_version", "changed_at", "actor", "reason")
    return Promotion(**{field: row[field] for field in fields})
