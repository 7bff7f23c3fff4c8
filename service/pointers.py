"""Which versions are to answer, as the database says; the champion's pointer also as a file, for when it is away."""

import json
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from infra import schema
from infra.database import reading
from infra.files import write_atomically
from models.champions import CHAMPION
from models.rollouts import CANARY, SHADOW

_FILE = "pointer.json"


@dataclass(frozen=True)
class Pointer:
    """
    One alias and the version that it names.

    Attributes:
        sequence: rises with every change of the alias.
        since: of the change; aware, UTC.
        previous: the version that a rollback would return to; only the champion has one.
        share: of predictions, 0..1; only for what is on trial.
    """

    alias: str
    version: int
    sequence: int
    since: datetime
    previous: int | None = None
    share: float = 1.0


@dataclass(frozen=True)
class Pointers:
    """Everything that is to be in memory of a serving worker."""

    champion: Pointer | None = None
    canary: Pointer | None = None
    shadow: Pointer | None = None

    @property
    def trials(self) -> tuple[Pointer, ...]:
        """What is tried beside the champion."""
        return tuple(pointer for pointer in (self.canary, self.shadow) if pointer is not None)


def read(engine: sa.Engine, name: str) -> Pointers:
    """One small read, for workers that ask four times a second."""
    table = schema.pointers
    query = sa.select(table).where(table.c.name == name)
    with reading(engine) as connection:
        rows = {row["alias"]: _pointer(dict(row)) for row in connection.execute(query).mappings()}
    return Pointers(rows.get(CHAMPION), rows.get(CANARY), rows.get(SHADOW))


def write_mirror(folder: Path, pointer: Pointer) -> None:
    """Remember the champion in a file beside the fetched versions."""
    facts = {"version": pointer.version, "sequence": pointer.sequence, "since": pointer.since.isoformat()}
    write_atomically(folder / _FILE, json.dumps(facts))


def read_mirror(folder: Path) -> Pointers:
    """
    The champion as last remembered; nothing where nothing usable was.

    A worker that starts while the database is away tries nothing beside the champion: whether a trial
    still goes on is not known.
    """
    try:
        facts: dict[str, Any] = json.loads((folder / _FILE).read_text())
        since = datetime.fromisoformat(facts["since"])
        return Pointers(Pointer(CHAMPION, int(facts["version"]), int(facts["sequence"]), since))
    except (OSError, ValueError, KeyError, TypeError):
        return Pointers()


def _pointer(row: dict[str, Any]) -> Pointer:
    share = 1.0 if row["share"] is None else row["share"]
    return Pointer(row["alias"], row["version"], row["sequence"], row["changed_at"], row["previous_version"], share)
