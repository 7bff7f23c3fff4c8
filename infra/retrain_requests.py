"""Requests for a retrain from outside, as rows: asked, and answered by the watcher's next look."""

from dataclasses import dataclass
from datetime import datetime

import sqlalchemy as sa

from infra import schema
from infra.clock import new_id, now
from infra.database import reading, writing
from infra.ledger import append_within

WAITING, ACCEPTED, DECLINED = "waiting", "accepted", "declined"
_STREAM = "retrain requests"  # of the ledger
_TABLE = schema.retrain_requests


@dataclass(frozen=True)
class RetrainRequest:
    """
    One request.

    Attributes:
        asked_by: Id of the token, or an address.
        reason: The caller's words.
        state: "waiting", "accepted" or "declined".
        words: Why it was answered so; None while it waits.
        job_id: Of the job that does it, which other requests may share; None where there is none.
    """

    id: str
    name: str
    at: datetime
    asked_by: str
    reason: str
    state: str
    words: str | None = None
    decided_at: datetime | None = None
    job_id: str | None = None


def ask_for_retrain(engine: sa.Engine, name: str, asked_by: str, reason: str) -> RetrainRequest:
    """Write a request; the next look at the model of that name answers it."""
    request = RetrainRequest(new_id(), name, now(), asked_by, reason, WAITING)
    with writing(engine) as connection:
        connection.execute(_TABLE.insert().values(**vars(request)))
        append_within(connection, _STREAM, "asked", {"request": request.id, "by": asked_by, "reason": reason})
    return request


def retrain_request(engine: sa.Engine, identifier: str) -> RetrainRequest | None:
    """One request as it stands; None where there is none of that id."""
    with reading(engine) as connection:
        row = connection.execute(sa.select(_TABLE).where(_TABLE.c.id == identifier)).mappings().first()
    return None if row is None else RetrainRequest(**row)


def waiting_within(connection: sa.Connection, name: str) -> tuple[RetrainRequest, ...]:
    """Those that nobody has answered yet, oldest first."""
    query = sa.select(_TABLE).where(_TABLE.c.name == name, _TABLE.c.state == WAITING).order_by(_TABLE.c.id)
    return tuple(RetrainRequest(**row) for row in connection.execute(query).mappings())


def answer_within(
    connection: sa.Connection, request: RetrainRequest, state: str, words: str, job_id: str | None = None
) -> RetrainRequest:
    """Answer one that waits, within the transaction of the deed; gives it as it stands then."""
    values = {"state": state, "words": words, "decided_at": now(), "job_id": job_id}
    mine = (_TABLE.c.id == request.id) & (_TABLE.c.state == WAITING)
    connection.execute(_TABLE.update().where(mine).values(**values))
    append_within(connection, _STREAM, state, {"request": request.id, "words": words, "job": job_id})
    return RetrainRequest(**{**vars(request), **values})
