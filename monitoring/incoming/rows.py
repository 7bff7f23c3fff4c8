"""Reading what arrives: counts by hour and source, repeats and gaps, from four weeks of the log."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from monitoring.incoming.usual_hours import WEEKS
from monitoring.incoming.volume import ArrivalReport, HourlyCounts, Repeats, arrivals
from monitoring.prediction_log import PredictionLog
from monitoring.watching.place import WatchPlace

_HOUR = timedelta(hours=1)
# A column with more values than this names images or sessions, not cameras; the rarest are left out of its counts.
_MOST_SOURCES = 200
# A picture that comes again after a week is counted as new: what is looked for are loops, not anniversaries.
_REPEATS_OVER = timedelta(days=7)
# And of a busier week the newest so many files, which a few hundred megabytes hold.
_MOST_COMPARED = 2_000_000


def arrivals_of(place: WatchPlace, now: datetime) -> ArrivalReport:
    """What is unusual about the arrivals of a project's traffic."""
    data = place.settings.data
    expected = [*dict.fromkeys([*([data.source] if data.source else []), *data.subgroups])]
    newest = repeats(place.log, now, place.settings.monitor.window, expected)
    return arrivals(hourly_counts(place.log, now, data.source), now, newest, data.source)


def hourly_counts(log: PredictionLog, now: datetime, source: str) -> HourlyCounts | None:
    """
    Arrivals of the last four weeks, by hour and value of the source column; None where nothing has arrived.

    Times beyond `now` are left out: a clock that runs ahead would make the coming hours look busy.
    """
    this_hour = now.replace(minute=0, second=0, microsecond=0)
    frame = _since(log, this_hour - timedelta(weeks=WEEKS), now)
    if frame is None:
        return None
    counted = (
        frame.select(pl.col("at").dt.truncate("1h").alias("hour"), _value(source).alias("source"), "at")
        .group_by("hour", "source")
        .agg(pl.len().alias("count"), pl.col("at").max().alias("last"))
        .collect()
    )
    if counted.is_empty():
        return None
    most = counted.group_by("source").agg(pl.col("count").sum(), pl.col("last").max()).sort("count", descending=True)
    kept = most.head(_MOST_SOURCES)
    sources = tuple(kept["source"].to_list())
    first = min(counted["hour"].min(), this_hour)  # type: ignore[type-var]
    hours = int((this_hour - first) / _HOUR)  # type: ignore[operator]
    counts = np.zeros((hours + 1, len(sources)), dtype=np.int64)
    place = {value: position for position, value in enumerate(sources)}
    for hour, value, count, _ in counted.iter_rows():
        if value in place:
            counts[int((hour - first) / _HOUR), place[value]] = count
    return HourlyCounts(first, counts[:-1], sources, counts[-1], tuple(kept["last"].to_list()))  # type: ignore[arg-type]


def repeats(log: PredictionLog, now: datetime, newest: int, columns: Sequence[str]) -> Repeats | None:
    """
    How many of the newest predictions are files that came before, and how many lack a metadata value.

    Args:
        log: Where predictions lie.
        now: The moment that is asked about.
        newest: How many are looked at; those of the week before them say what is usual.
        columns: Metadata columns that are expected.
    """
    frame = _since(log, now - _REPEATS_OVER, now)
    if frame is None:
        return None
    lacks = [(_value(name) == "").alias(f"lacks {place}") for place, name in enumerate(columns)]
    oldest = frame.select("at").top_k(_MOST_COMPARED, by="at").select(pl.col("at").min()).collect().item()
    if oldest is None:
        return None
    rows = (
        frame.filter(pl.col("at") >= oldest)
        .select("at", pl.col("image_sha256").hash().alias("file"), *lacks)
        .sort("at")
        .with_columns((~pl.col("file").is_first_distinct()).alias("again"))
        .drop("file", "at")
        .collect()
    )
    last, before = rows.tail(newest), rows.head(max(0, rows.height - newest))
    now_missing = {name: _share(last, f"lacks {place}") for place, name in enumerate(columns)}
    usual_missing = {name: _share(before, f"lacks {place}") for place, name in enumerate(columns)}
    return Repeats(
        last.height, _share(last, "again"), before.height, _share(before, "again"), now_missing, usual_missing
    )


def _since(log: PredictionLog, since: datetime, now: datetime) -> pl.LazyFrame | None:
    frame = log.predictions.scan()
    if frame is None:
        return None
    # The day is the partition: files of earlier days are not opened.
    return frame.filter(pl.col("date") >= since.date().isoformat()).filter(
        pl.col("at").is_between(since, now) & ~pl.col("repeated")
    )


def _value(column: str) -> pl.Expr:
    """The column's value in each row's metadata; "" where it has none."""
    if not column:
        return pl.lit("")
    path = "$['" + column.replace("\\", "\\\\").replace("'", "\\'") + "']"
    return pl.col("metadata").str.json_path_match(path).fill_null("")


def _share(rows: pl.DataFrame, name: str) -> float:
    return float(rows[name].mean() or 0.0) if rows.height else 0.0  # type: ignore[arg-type]
