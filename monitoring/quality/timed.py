"""Labelled answers as columns, with when they were given and when somebody said what they should have been."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import numpy as np
import polars as pl
from numpy.typing import NDArray

from monitoring.log.columns import coded_in
from monitoring.watching.batch import Floats

Codes = NDArray[np.intp]
Moments = NDArray[np.int64]


@dataclass(frozen=True)
class TimedAnswers:
    """
    One row for each labelled prediction.

    Attributes:
        ids: Of the predictions.
        classes: Every class that was true or answered at least once, in the order of their names.
        truth, answered: Places in `classes`, shape (N,).
        confidence: shape (N,), 0..1; NaN where it was not recorded.
        predicted_at, labelled_at: Microseconds since 1970, UTC, shape (N,).
    """

    ids: tuple[str, ...]
    classes: tuple[str, ...]
    truth: Codes
    answered: Codes
    confidence: Floats
    predicted_at: Moments
    labelled_at: Moments

    def __len__(self) -> int:
        return len(self.truth)

    @property
    def right(self) -> NDArray[np.bool_]:
        """Shape (N,): whether the answer was the truth."""
        found: NDArray[np.bool_] = self.truth == self.answered
        return found

    def unknown(self, classes: Sequence[str]) -> tuple[str, ...]:
        """Classes that somebody named as truth and the model does not have."""
        named = {self.classes[code] for code in np.unique(self.truth).tolist()}
        return tuple(sorted(named - set(classes)))

    def take(self, rows: NDArray[np.bool_]) -> "TimedAnswers":
        """The rows of a part; the classes stay."""
        return TimedAnswers(
            tuple(np.array(self.ids, dtype=object)[rows]),
            self.classes,
            self.truth[rows],
            self.answered[rows],
            self.confidence[rows],
            self.predicted_at[rows],
            self.labelled_at[rows],
        )


# What is read of `PredictionLog.labelled()`; nothing else need be there.
COLUMNS = ("id", "at", "model_version", "label", "confidence", "true_label", "labelled_at")


def timed_answers(frame: pl.DataFrame) -> TimedAnswers:
    """The rows of `PredictionLog.labelled()`, in their order: as the labels came in."""
    told = frame.filter(pl.col("true_label").is_not_null() & pl.col("label").is_not_null())
    truth, answered = coded_in(told["true_label"]), coded_in(told["label"])
    classes = tuple(sorted({*truth.values, *answered.values}))
    place = {label: code for code, label in enumerate(classes)}
    return TimedAnswers(
        ids=tuple(told["id"].to_list()),
        classes=classes,
        truth=np.array([place[label] for label in truth.values], dtype=np.intp)[truth.codes],
        answered=np.array([place[label] for label in answered.values], dtype=np.intp)[answered.codes],
        confidence=told["confidence"].cast(pl.Float64).fill_null(float("nan")).to_numpy(),
        predicted_at=microseconds(told["at"]),
        labelled_at=microseconds(told["labelled_at"]),
    )


def microseconds(times: pl.Series) -> Moments:
    """Moments as numbers; columns of the log have no gaps in their times."""
    return times.dt.epoch("us").to_numpy()


def moment(microseconds_since: float) -> datetime:
    """The number as a moment again."""
    return datetime.fromtimestamp(microseconds_since / 1e6, tz=UTC)
