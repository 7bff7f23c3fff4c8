"""Blocks in the prediction log: what can be closed, and the predictions of a block that are looked at."""

import json
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl

from monitoring.blocks.cutting import Calendar, Span
from monitoring.blocks.sample import BlockSample, Numbers
from monitoring.image_stats import NAMES
from monitoring.prediction_log import PredictionLog
from monitoring.reference.profile import ReferenceProfile

_SEED = 20_261_121


@dataclass(frozen=True)
class Arrived:
    """
    What the log holds since a moment.

    Attributes:
        newest: The newest time of any version's prediction; None where there is none.
        counts: Unit of the calendar to the champion's predictions in it.
    """

    newest: datetime | None
    counts: dict[int, int]


def arrived(log: PredictionLog, version: int, since: datetime | None, calendar: Calendar, at: datetime) -> Arrived:
    """
    Predictions since a moment, counted by unit of the calendar.

    What claims to be from the future of `at` is not looked at: a clock that is wrong must not end a block.
    """
    frame = log.predictions.scan()
    if frame is None:
        return Arrived(None, {})
    frame = frame.filter(pl.col("at") <= at)
    if since is not None:
        frame = frame.filter((pl.col("date") >= since.date().isoformat()) & (pl.col("at") >= since))
    mine = (pl.col("model_version") == version) & ~pl.col("repeated")
    unit = ((pl.col("at").dt.epoch("s") - calendar.offset) // calendar.seconds).alias("unit")
    found = (
        frame.group_by(unit)
        .agg(pl.col("at").max().alias("newest"), mine.sum().alias("mine"))
        .collect(engine="streaming")
    )
    if found.is_empty():
        return Arrived(None, {})
    counts = {row[0]: row[1] for row in found.select("unit", "mine").iter_rows() if row[1]}
    newest = found["newest"].max()
    assert isinstance(newest, datetime)
    return Arrived(newest, counts)


def count_within(log: PredictionLog, version: int, span: Span) -> int:
    """How many of the version's predictions lie in the span by now."""
    frame = _within(log, version, span)
    return 0 if frame is None else int(frame.select(pl.len()).collect(engine="streaming").item())


def read_sample(log: PredictionLog, profile: ReferenceProfile, span: Span, most: int) -> BlockSample | None:
    """The champion's predictions with the smallest hashes of their ids, in that order; None without any."""
    frame = _within(log, profile.version, span)
    if frame is None:
        return None
    # Which rows they are is found on ids alone; only those are then read in full.
    hashed = frame.select("id", hash=pl.col("id").hash(_SEED))
    chosen = hashed.unique("id").bottom_k(most, by=["hash", "id"]).collect(engine="streaming").sort("hash", "id")
    if chosen.is_empty():
        return None
    rows = (
        frame.filter(pl.col("id").is_in(chosen["id"].to_list()))
        .select("id", "image_sha256", "statistics", "probabilities", "embedding", "label", "metadata", "at")
        .collect(engine="streaming")
        .sort("at")
        .unique("id", keep="first", maintain_order=True)
    )
    ordered = chosen.join(rows, on="id", how="inner", maintain_order="left")
    return BlockSample(
        version=profile.version,
        classes=profile.classes,
        hashes=ordered["hash"].to_numpy(),
        ids=tuple(ordered["id"].to_list()),
        images=tuple(ordered["image_sha256"].to_list()),
        statistics=_table(ordered["statistics"], len(NAMES), may_be_shorter=True),
        probabilities=_table(ordered["probabilities"], len(profile.classes)),
        embedding=_table(ordered["embedding"], profile.embedding_size),
        labels=tuple(ordered["label"].to_list()),
        metadata=tuple(json.loads(text) for text in ordered["metadata"].to_list()),
    )


def _within(log: PredictionLog, version: int, span: Span) -> pl.LazyFrame | None:
    frame = log.predictions.scan()
    if frame is None:
        return None
    dates = pl.col("date").is_between(pl.lit(span.start.date().isoformat()), pl.lit(span.end.date().isoformat()))
    times = (pl.col("at") >= span.start) & (pl.col("at") < span.end)
    return frame.filter(dates & times & (pl.col("model_version") == version) & ~pl.col("repeated"))


def _table(column: pl.Series, width: int, *, may_be_shorter: bool = False) -> Numbers:
    """Shape (N, width); rows of another length, and what is no finite number, are NaN."""
    found = np.full((len(column), width), np.nan, dtype=np.float32)
    for place, row in enumerate(column):
        values = None if row is None else row.to_numpy()
        if values is not None and (len(values) == width or (may_be_shorter and len(values) < width)):
            found[place, : len(values)] = values
    found[~np.isfinite(found)] = np.nan
    return found
