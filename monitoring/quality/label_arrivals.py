"""When predictions were made and when their first label came, read from the log as columns."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from monitoring.prediction_log import PredictionLog
from monitoring.quality.timed import microseconds

Moments = NDArray[np.int64]


@dataclass(frozen=True)
class LabelArrivals:
    """
    Every prediction of a stretch of time, repeated ones once; in the order of their times.

    Attributes:
        predicted_at: Microseconds since 1970, shape (N,).
        labelled_at: Of the first label, shape (N,); -1 where none has come.
    """

    predicted_at: Moments
    labelled_at: Moments

    def between(self, start: datetime, end: datetime) -> "LabelArrivals":
        """Those of a window, given by its first and last prediction."""
        ends = np.array([start.timestamp() * 1e6, end.timestamp() * 1e6]).round()
        first, last = (
            np.searchsorted(self.predicted_at, ends, side="left")[0],
            np.searchsorted(self.predicted_at, ends, side="right")[1],
        )
        return LabelArrivals(self.predicted_at[first:last], self.labelled_at[first:last])

    @property
    def labels(self) -> int:
        return int((self.labelled_at >= 0).sum())


def label_arrivals(log: PredictionLog, since: datetime, model_version: int | None = None) -> LabelArrivals:
    """
    Arrivals of the predictions since then, of one version where it is given.

    A correction is not a second label: what counts for a delay is when something was known at all.
    """
    frame = log.predictions.scan()
    if frame is None:
        return LabelArrivals(np.empty(0, dtype=np.int64), np.empty(0, dtype=np.int64))
    mine = frame.filter((pl.col("date") >= since.date().isoformat()) & (pl.col("at") >= since) & ~pl.col("repeated"))
    if model_version is not None:
        mine = mine.filter(pl.col("model_version") == model_version)
    predictions = mine.select("id", "at").unique("id", keep="first")
    labels = log.labels.scan()
    if labels is None:
        labels = pl.LazyFrame(schema=_LABELS)
    first = labels.group_by("id").agg(labelled_at=pl.col("at").min())
    rows = predictions.join(first, on="id", how="left").sort("at", "id").select("at", "labelled_at").collect()
    return LabelArrivals(
        predicted_at=microseconds(rows["at"]),
        labelled_at=rows["labelled_at"].dt.epoch("us").fill_null(-1).to_numpy(),
    )


_LABELS: Mapping[str, pl.DataType] = {"id": pl.String(), "at": pl.Datetime("us", "UTC")}
