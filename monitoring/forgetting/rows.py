"""A prediction's rows in the log: where they lie, what they name, and their deletion."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from infra.tables import Table, equal_to
from monitoring.prediction_log import PredictionLog

_PLACE = ("date", "spool", "segment", "position")
Place = Mapping[str, str | int]


@dataclass(frozen=True)
class Answered:
    """One prediction of the id; `at` and the version tell which window it lies in."""

    at: datetime
    model_version: int
    image_sha256: str


@dataclass(frozen=True)
class Traces:
    """Every row of one id: what was answered, and by table where the rows lie."""

    answered: tuple[Answered, ...]
    places: Mapping[str, Sequence[Place]]

    @property
    def rows(self) -> dict[str, int]:
        """How many rows, by table."""
        return {name: len(places) for name, places in self.places.items()}

    @property
    def images(self) -> tuple[str, ...]:
        return tuple(sorted({one.image_sha256 for one in self.answered}))

    def __bool__(self) -> bool:
        return any(self.places.values())


def traces_of(log: PredictionLog, identifier: str) -> Traces:
    """All rows of the id, whenever they were written: a caller's own id says no date, and may have been used again."""
    places: dict[str, Sequence[Place]] = {}
    answered: list[Answered] = []
    for table in log.tables:
        frame = table.scan()
        if frame is None:
            places[table.name] = ()
            continue
        mine = frame.filter(pl.col("id") == identifier)
        if table is log.predictions:
            rows = mine.select("at", "model_version", "image_sha256", *_PLACE).collect()
            named = rows.select("at", "model_version", "image_sha256").iter_rows()
            answered = [Answered(at, version, image) for at, version, image in named]
        else:
            rows = mine.select(*_PLACE).collect()
        places[table.name] = tuple(rows.select(*_PLACE).to_dicts())
    return Traces(tuple(answered), places)


def erase(log: PredictionLog, traces: Traces) -> int:
    """Delete the rows, and say how many; they lie in older files until the tables shed their history."""
    # By place, not by id: a table's log keeps the condition of every deletion.
    return sum(_delete(table, traces.places[table.name]) for table in log.tables)


def uses_of_images(log: PredictionLog, images: Sequence[str]) -> dict[str, int]:
    """How many predictions show each of these images, by SHA-256; 0 where none does."""
    found = dict.fromkeys(images, 0)
    frame = log.predictions.scan()
    if frame is not None and images:
        mine = frame.filter(pl.col("image_sha256").is_in(list(images))).group_by("image_sha256").len().collect()
        found |= dict(mine.iter_rows())
    return found


def _delete(table: Table, places: Sequence[Place]) -> int:
    return table.delete(equal_to(places)) if places else 0
