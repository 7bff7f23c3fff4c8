"""Whether the watcher itself has fallen silent."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import sqlalchemy as sa

from infra import schema
from infra.clock import new_id, now
from infra.database import reading, writing
from infra.ledger import append_within

LANE, DETECTOR = "watcher", "heartbeat"


@dataclass(frozen=True)
class Silence:
    """The watcher was last heard at `since`; `seconds` have passed."""

    since: datetime
    seconds: float

    @property
    def words(self) -> str:
        return f"The watcher has not looked for {self.seconds:.0f} s (last at {self.since:%Y-%m-%d %H:%M:%S} UTC)."


def silence(heard_at: datetime | None, listening_since: datetime, moment: datetime, most_s: float) -> Silence | None:
    """
    The watcher's silence at `moment`, if it is longer than `most_s` seconds.

    listening_since: before this nothing could be heard; a machine that was switched off is not silent.
    """
    since = max(heard_at, listening_since) if heard_at is not None else listening_since
    if moment - since <= timedelta(seconds=most_s):
        return None
    return Silence(since, (moment - since).total_seconds())


def check_silence(engine: sa.Engine, name: str, listening_since: datetime, most_s: float) -> Silence | None:
    """The silence as it is now; the first look at it leaves an alarm and a ledger row, later looks leave none."""
    with reading(engine) as connection:
        found = silence(heard_at(connection), listening_since, now(), most_s)
    if found is None:
        return None
    table = schema.alarms
    with writing(engine) as connection:
        raised = connection.execute(
            sa.select(table.c.id).where(table.c.name == name, table.c.lane == LANE, table.c.at > found.since)
        ).first()
        if raised is None:
            facts = {"since": found.since.isoformat(), "seconds": round(found.seconds), "words": found.words}
            row = {"id": new_id(), "name": name, "at": now(), "lane": LANE, "detector": DETECTOR, "facts": facts}
            connection.execute(table.insert().values(**row))
            append_within(connection, "watch", "watcher silent", facts)
    return found


def heard_at(connection: sa.Connection) -> datetime | None:
    """When the watcher last looked."""
    table = schema.heartbeats
    heard: datetime | None = connection.execute(sa.select(table.c.at).where(table.c.process == "watch")).scalar()
    return heard
