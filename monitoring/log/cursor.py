"""Places in the prediction log, and how far a reader has come."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import polars as pl

Position = tuple[int, int]  # segment, place within it

PLACE_OF = ("spool", "segment", "position")  # the columns that tell one row from every other


@dataclass(frozen=True)
class Cursor:
    """
    How far a reader has come: for each spool, the place of the last row it took. Empty: from the beginning.

    Attributes:
        places: spool to (segment, position).
    """

    places: Mapping[str, Position] = field(default_factory=dict)

    def past(self, rows: pl.DataFrame) -> "Cursor":
        """The cursor after these rows, of which only the places are looked at; a beginning of what lay beyond it."""
        ordered = rows.sort("segment", "position")
        last = ordered.group_by("spool").agg(pl.col("segment").last(), pl.col("position").last())
        places = dict(self.places)
        for spool, segment, position in last.iter_rows():
            places[spool] = max(places.get(spool, (-1, -1)), (segment, position))
        return Cursor(places)

    def or_later(self, other: "Cursor") -> "Cursor":
        """The later place of either, for each spool."""
        places = dict(self.places)
        for spool, place in other.places.items():
            places[spool] = max(places.get(spool, (-1, -1)), place)
        return Cursor(places)

    def to_json(self) -> dict[str, list[int]]:
        return {spool: list(place) for spool, place in sorted(self.places.items())}

    @classmethod
    def from_json(cls, value: Mapping[str, Sequence[int]]) -> "Cursor":
        return cls({spool: (int(segment), int(position)) for spool, (segment, position) in value.items()})


BEGINNING = Cursor()
