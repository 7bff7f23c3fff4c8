"""The sign of life of a process that speaks no HTTP: its row in the table of heartbeats."""

import contextlib
import logging
import os
import threading
from collections.abc import Iterator
from datetime import datetime

import sqlalchemy as sa

from infra import schema
from infra.clock import now
from infra.database import reading, writing

_log = logging.getLogger(__name__)
_EVERY_S = 5.0


def beat(engine: sa.Engine, process: str) -> None:
    """Say once that `process` lives."""
    with writing(engine) as connection:
        beat_within(connection, process)


def beat_within(connection: sa.Connection, process: str) -> None:
    """The same inside a caller's `writing` transaction."""
    table = schema.heartbeats
    values = {"at": now(), "pid": os.getpid()}
    updated = connection.execute(table.update().where(table.c.process == process).values(**values))
    if updated.rowcount == 0:
        connection.execute(table.insert().values(process=process, **values))


def last_beat(engine: sa.Engine, process: str) -> datetime | None:
    """When `process` said it last; None before the first time."""
    beats = schema.heartbeats
    with reading(engine) as connection:
        at: datetime | None = connection.scalar(sa.select(beats.c.at).where(beats.c.process == process))
    return at


@contextlib.contextmanager
def beating(engine: sa.Engine, process: str, every_s: float = _EVERY_S) -> Iterator[None]:
    """Say it now and every few seconds while the block runs; a database that is away for a while is waited for."""
    over = threading.Event()

    def go_on() -> None:
        while True:
            try:
                beat(engine, process)
            except sa.exc.SQLAlchemyError:
                _log.exception("The heartbeat of %s could not be written", process)
            if over.wait(every_s):
                return

    thread = threading.Thread(target=go_on, name=f"heartbeat-{process}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
