"""
The ledger: what was seen, decided and done, and why, as hash-chained rows that are only ever appended.

Each row's hash covers its content and the row before it, so no row can be changed or taken from the middle
unnoticed. A chain cannot show that its end was cut off; for that the newest hash has to be kept elsewhere.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from infra import schema
from infra.clock import now
from infra.database import reading, writing

_FIRST = "0" * 64


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

    def verify(self, stream: str) -> int | None:
        """The sequence of the first row that does not fit the chain; None when all do."""
        previous = _FIRST
        for expected, row in enumerate(self.rows(stream), start=1):
            digest = _digest(row.stream, row.sequence, row.at, row.kind, row.actor, row.facts, previous)
            if row.sequence != expected or row.previous_hash != previous or row.hash != digest:
                return expected
            previous = row.hash
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


def _digest(
    stream: str, sequence: int, at: datetime, kind: str, actor: str, facts: Mapping[str, Any], previous: str
) -> str:
    content = json.dumps([stream, sequence, at.isoformat(), kind, actor, facts, previous], sort_keys=True)
    return hashlib.sha256(content.encode()).hexdigest()
