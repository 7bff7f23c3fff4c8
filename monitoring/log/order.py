"""Which rows of the log lie beyond a cursor, and the order in which rows of several spools count."""

import polars as pl

from monitoring.log.cursor import PLACE_OF, Cursor

_ORDER = ("settled_at", *PLACE_OF)


def beyond(frame: pl.LazyFrame | None, cursor: Cursor) -> pl.LazyFrame | None:
    """Rows beyond the cursor's places, all those of spools that it does not know among them."""
    if frame is None or not cursor.places:
        return frame
    # One filter a spool, on a partition column: files of what was read before are not even opened.
    parts = [frame.filter(~pl.col("spool").is_in(list(cursor.places)))]
    for spool, (segment, position) in cursor.places.items():
        later = (pl.col("segment") > segment) | ((pl.col("segment") == segment) & (pl.col("position") > position))
        parts.append(frame.filter((pl.col("spool") == spool) & (pl.col("segment") >= segment)).filter(later))
    return pl.concat(parts)


def between(frame: pl.LazyFrame | None, start: Cursor, end: Cursor) -> pl.LazyFrame | None:
    """Rows beyond the places of `start` and up to those of `end`; none of a spool that `end` does not know."""
    if frame is None:
        return None
    segment_of, position_of = pl.col("segment"), pl.col("position")
    parts = [frame.head(0)]
    for spool, (segment, position) in end.places.items():
        first, after = start.places.get(spool, (-1, -1))
        # The plain bounds come first: by them alone whole files are passed over.
        mine = frame.filter((pl.col("spool") == spool) & segment_of.is_between(first, segment))
        later = (segment_of > first) | (position_of > after)
        parts.append(mine.filter(later & ((segment_of < segment) | (position_of <= position))))
    return pl.concat(parts)


def merged(frame: pl.DataFrame) -> pl.DataFrame:
    """
    Rows of several spools in the order in which they count, with the time that orders them as `settled_at`.

    That is the running maximum of the times within each spool: a clock that jumps back disturbs no spool's order, and
    one that is ahead puts its spool's rows behind those that are read with them, and hides none.
    """
    settled = pl.col("at").cum_max().over("spool").alias("settled_at")
    return frame.sort("spool", "segment", "position").with_columns(settled).sort(_ORDER)
