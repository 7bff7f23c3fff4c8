"""A stretch of the prediction log: the rows between two places, in the order in which they count, read by slices."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime

import polars as pl

from infra.tables import Table
from monitoring.log.cursor import PLACE_OF, Cursor
from monitoring.log.order import between, beyond, merged

SLICE_ROWS = 20_000

_KEY = list(PLACE_OF)


@dataclass(frozen=True)
class Stretch:
    """
    Rows that are known to lie in a table, and are read when they are asked for.

    The index is held whole (some 50 bytes a row), the rows themselves never: each slice opens the files that it lies
    in, and no others.

    Attributes:
        source: The table; None where it does not exist.
        index: `at`, `spool`, `segment`, `position` of each row, and whatever else was asked for, in order.
    """

    source: pl.LazyFrame | None
    index: pl.DataFrame

    def __len__(self) -> int:
        return self.index.height

    def slices(
        self, most_rows: int = SLICE_ROWS, columns: Sequence[str] = (), *, whole_minutes: bool = False
    ) -> Iterator[pl.DataFrame]:
        """
        The rows, at most `most_rows` at a time; rows that were deleted in between are left out.

        Args:
            most_rows: A bound for memory.
            columns: To be read; by default all.
            whole_minutes: Cut between two minutes where that is possible, for a session's rows of one minute count
                together.
        """
        start = 0
        while start < self.index.height:
            end = min(start + most_rows, self.index.height)
            if whole_minutes and end < self.index.height:
                end = self._minute_ends(start, end)
            yield self.read(self.index.slice(start, end - start), columns)
            start = end

    def read(self, part: pl.DataFrame, columns: Sequence[str] = ()) -> pl.DataFrame:
        """The rows that `part` of the index names, in its order."""
        assert self.source is not None, "an index has rows only where there is a table"
        if part.is_empty():
            return self.source.head(0).collect()
        # Segments lie in few files, whose least and greatest segment the table's log knows: no other file is opened.
        ranges = part.group_by("spool").agg(first=pl.col("segment").min(), last=pl.col("segment").max())
        wanted = [
            (pl.col("spool") == spool) & pl.col("segment").is_between(first, last)
            for spool, first, last in ranges.iter_rows()
        ]
        source = self.source.select(*columns, *_KEY) if columns else self.source
        rows = pl.concat([source.filter(one) for one in wanted]).collect()
        own = [name for name in part.columns if name in _KEY or name not in rows.columns]
        return part.select(own).join(rows, on=_KEY, how="inner", maintain_order="left")

    def _minute_ends(self, start: int, end: int) -> int:
        minutes = self.index["settled_at"].slice(start, end - start + 1).dt.truncate("1m")
        same = int((minutes == minutes[-1]).sum())
        return end + 1 - same if same <= end - start else end


def new_stretch(table: Table, cursor: Cursor, most_rows: int) -> Stretch:
    """What lies beyond the cursor; of more than `most_rows` the first, by the running maximum of each spool's times."""
    source = table.scan()
    frame = beyond(source, cursor)
    if frame is None:
        return Stretch(None, pl.DataFrame(schema=dict.fromkeys([*_KEY, "settled_at"], pl.Null)))
    return Stretch(source, merged(frame.select("at", *_KEY).collect()).head(most_rows))


def stretch_between(
    table: Table, start: Cursor, end: Cursor, model_version: int, columns: Sequence[str] = ()
) -> Stretch:
    """
    One version's answers beyond `start` and up to `end`, without those whose id had been answered before.

    columns: what the index is to hold beside the places, of few bytes a row.
    """
    source = table.scan()
    frame = between(source, start, end)
    if frame is None:
        return Stretch(None, pl.DataFrame(schema=dict.fromkeys([*_KEY, "settled_at"], pl.Null)))
    mine = frame.filter((pl.col("model_version") == model_version) & ~pl.col("repeated"))
    names = list(dict.fromkeys(["at", *_KEY, "id", *columns]))
    index = merged(mine.select(names).collect()).unique("id", keep="first", maintain_order=True)
    return Stretch(source, index)


def answers(
    table: Table,
    model_version: int,
    since: datetime | None = None,
    until: datetime | None = None,
    *,
    slice_rows: int = SLICE_ROWS,
    columns: Sequence[str] = (),
) -> Iterator[pl.DataFrame]:
    """
    One version's first answers with a time in [since, until), a slice at a time, each spool's in its order.

    Args:
        table: Of predictions.
        model_version: Whose answers.
        since: None: from the beginning.
        until: None: to the end.
        slice_rows: A bound for memory.
        columns: To be read beside the places; by default all.
    """
    source = table.scan()
    if source is None:
        return
    frame = source.filter((pl.col("model_version") == model_version) & ~pl.col("repeated"))
    if since is not None:
        frame = frame.filter((pl.col("date") >= since.date().isoformat()) & (pl.col("at") >= since))
    if until is not None:
        frame = frame.filter((pl.col("date") <= until.date().isoformat()) & (pl.col("at") < until))
    yield from Stretch(source, merged(frame.select("at", *_KEY).collect())).slices(slice_rows, columns)
