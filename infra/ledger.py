"""
The ledger: what was seen, decided and done, and why, as hash-chained rows that are only ever appended.

Each row's hash covers its content and the row before it, so no row can be changed or taken from the middle
unnoticed. A chain cannot show that its end was cut off; for that the newest hash has to be kept elsewhere.
"""

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from infra import schema
from infra.clock import now
from infra.database import reading, writing

_FIRST = "0" * 64
_PAGE_ROWS = 1_000
_BELOW_ALL = -(2**31)  # a row that somebody slipped in before the first is met, too


@dataclass(frozen=True)
class LedgerRow:
    """
    One row of one stream.

    Attributes:
        sequence: Counts from 1 within the stream, without gaps.
        hash: SHA-256, in hex, over this row and `previous_hash`.
    """

    stream: str
    sequence: int
    at: datetime
    kind: str
    actor: str
    facts: Mapping[str, Any]
    previous_hash: str
    hash: str

    @property
    def reference(self) -> str:
        """How one names the row, as in "models#3"."""
        return f"{self.stream}#{self.sequence}"

    def follows(self, previous: "LedgerRow | None") -> bool:
        """Whether it is the row that was written after `previous`, or the first one, and has not been changed since."""
        sequence, before = (1, _FIRST) if previous is None else (previous.sequence + 1, previous.hash)
        digest = _digest(self.stream, self.sequence, self.at, self.kind, self.actor, self.facts, before)
        return (self.sequence, self.previous_hash, self.hash) == (sequence, before, digest)


@dataclass(frozen=True)
class StreamHead:
    """The newest row of a stream: how many rows there are up to it, and its hash."""

    stream: str
    rows: int
    hash: str


class Ledger:
    """Every stream of one database."""

    def __init__(self, engine: sa.Engine) -> None:
        self.engine = engine

    def append(self, stream: str, kind: str, facts: Mapping[str, Any], actor: str = "kedge") -> LedgerRow:
        """Append one row in a transaction of its own. `facts` must be plain JSON."""
        with writing(self.engine) as connection:
            return append_within(connection, stream, kind, facts, actor)

    def rows(self, stream: str, last: int | None = None) -> tuple[LedgerRow, ...]:
        """The stream's rows, oldest first; only the newest `last` where given."""
        query = sa.select(schema.ledger).where(schema.ledger.c.stream == stream)
        query = query.order_by(schema.ledger.c.sequence.desc()).limit(last)
        with reading(self.engine) as connection:
            return tuple(reversed([LedgerRow(**row) for row in connection.execute(query).mappings()]))

    def newest(self, last: int) -> tuple[LedgerRow, ...]:
        """The newest rows of all streams together, oldest first."""
        table = schema.ledger
        newest = sa.select(table).order_by(table.c.sequence.desc()).limit(last)
        with reading(self.engine) as connection:
            # A stream at a time, by its key: sorting a long ledger by time would take all of it.
            found = [
                LedgerRow(**row)
                for head in heads_within(connection)
                for row in connection.execute(newest.where(table.c.stream == head.stream)).mappings()
            ]
        return tuple(sorted(found, key=lambda row: (row.at, row.stream, row.sequence))[-last:])

    def mentioning(self, stream: str, fact: str, value: str | int) -> tuple[LedgerRow, ...]:
        """The stream's rows whose facts have this value under this name, oldest first."""
        table = schema.ledger
        # Of other rows the same name may hold text or nothing: only as text can all of them be compared.
        named = sa.cast(table.c.facts[fact].as_string(), sa.String)
        query = sa.select(table).where(table.c.stream == stream, named == str(value)).order_by(table.c.sequence)
        with reading(self.engine) as connection:
            return tuple(LedgerRow(**row) for row in connection.execute(query).mappings())

    def heads(self) -> tuple[StreamHead, ...]:
        """Every stream's newest row, all at one moment, by the streams' names."""
        with reading(self.engine) as connection:
            return heads_within(connection)

    def walk(self, stream: str) -> Iterator[LedgerRow]:
        """The stream's rows, oldest first, a page at a time: a long stream need not fit into memory."""
        table = schema.ledger
        query = sa.select(table).where(table.c.stream == stream).order_by(table.c.sequence).limit(_PAGE_ROWS)
        last = _BELOW_ALL
        while True:
            with reading(self.engine) as connection:
                count = 0
                for row in connection.execute(query.where(table.c.sequence > last)).mappings():
                    last, count = row["sequence"], count + 1
                    yield LedgerRow(**row)
            if count < _PAGE_ROWS:
                return

    def verify(self, stream: str) -> int | None:
        """The place, counted from 1, of the first row that does not fit the chain; None when all do."""
        previous = None
        for expected, row in enumerate(self.walk(stream), start=1):
            if not row.follows(previous):
                return expected
            previous = row
        return None


def append_within(
    connection: sa.Connection, stream: str, kind: str, facts: Mapping[str, Any], actor: str = "kedge"
) -> LedgerRow:
    """Append one row inside a caller's `writing` transaction, so that deed and record stand or fall together."""
    newest = connection.execute(
        sa.select(schema.ledger.c.sequence, schema.ledger.c.hash)
        .where(schema.ledger.c.stream == stream)
        .order_by(schema.ledger.c.sequence.desc())
        .limit(1)
    ).first()
    sequence, previous = (newest.sequence + 1, newest.hash) if newest else (1, _FIRST)
    # A round trip through JSON first: what is hashed must be what a reader gets back.
    plain = json.loads(json.dumps(facts, allow_nan=False))
    at = now()
    digest = _digest(stream, sequence, at, kind, actor, plain, previous)
    row = LedgerRow(stream, sequence, at, kind, actor, plain, previous, digest)
    connection.execute(schema.ledger.insert().values(**vars(row)))
    return row


def heads_within(connection: sa.Connection) -> tuple[StreamHead, ...]:
    """Every stream's newest row inside a caller's transaction."""
    table = schema.ledger
    newest = sa.select(table.c.stream, sa.func.max(table.c.sequence).label("sequence")).group_by(table.c.stream)
    found = newest.subquery()
    query = (
        sa.select(table.c.stream, table.c.sequence, table.c.hash)
        .join(found, (found.c.stream == table.c.stream) & (found.c.sequence == table.c.sequence))
        .order_by(table.c.stream)
    )
    return tuple(StreamHead(row.stream, row.sequence, row.hash) for row in connection.execute(query))


def _digest(
    stream: str, sequence: int, at: datetime, kind: str, actor: str, facts: Mapping[str, Any], previous: str
) -> str:
    content = json.dumps([stream, sequence, at.isoformat(), kind, actor, facts, previous], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()
