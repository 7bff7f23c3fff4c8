"""How right the answers were, where people said what they should have been."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
from numpy.typing import NDArray

from models.intervals import wilson

Counts = NDArray[np.intp]


@dataclass(frozen=True)
class Interval:
    """A share with its 95 % interval, 0..1; all None where nothing was counted."""

    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class LabelledRows:
    """Answers beside the truth; three sequences of one length."""

    truth: tuple[str, ...]
    answered: tuple[str, ...]
    metadata: tuple[Mapping[str, str], ...]

    def __len__(self) -> int:
        return len(self.truth)


@dataclass(frozen=True)
class ClassPerformance:
    """One class: `images` truly are of it, `answered` were said to be; Wilson intervals."""

    label: str
    images: int
    answered: int
    precision: Interval
    recall: Interval
    false_positive_rate: Interval


@dataclass(frozen=True)
class SubgroupPerformance:
    """One value of one metadata column."""

    column: str
    value: str
    images: int
    right: int
    accuracy: Interval


@dataclass(frozen=True)
class Performance:
    """Of all labelled answers; classes and subgroups in the order of their names."""

    images: int
    right: int
    accuracy: Interval
    classes: tuple[ClassPerformance, ...]
    subgroups: tuple[SubgroupPerformance, ...]


def performance(rows: LabelledRows, subgroups: Sequence[str] = ()) -> Performance:
    """Accuracy, precision and recall with Wilson intervals, per class and per value of the subgroup columns."""
    right = np.array(rows.truth, dtype=object) == np.array(rows.answered, dtype=object)
    found = []
    for column in subgroups:
        for value, member in members(rows, column):
            images, count = int(member.sum()), int(right[member].sum())
            found.append(SubgroupPerformance(column, value, images, count, share(count, images)))
    return Performance(
        images=len(rows),
        right=int(right.sum()),
        accuracy=share(int(right.sum()), len(rows)),
        classes=tuple(per_class(rows)),
        subgroups=tuple(found),
    )


def per_class(rows: LabelledRows) -> list[ClassPerformance]:
    """Every class that was true or answered at least once."""
    classes = tuple(sorted(set(rows.truth) | set(rows.answered)))
    number = {label: place for place, label in enumerate(classes)}
    truth, answered = (
        np.fromiter(map(number.__getitem__, column), dtype=np.intp, count=len(rows))
        for column in (rows.truth, rows.answered)
    )
    counted = [np.bincount(codes, minlength=len(classes)) for codes in (truth, answered, truth[truth == answered])]
    return list(class_performances(classes, *counted))


def class_performances(
    classes: Sequence[str], images: Counts, answered: Counts, right: Counts
) -> tuple[ClassPerformance, ...]:
    """
    Rates of each class that occurs, from its counts.

    Args:
        classes: Names.
        images: Of each class, how many are truly of it.
        answered: How many were said to be of it.
        right: How many were said to be of it rightly.
    """
    total = int(images.sum())
    return tuple(
        ClassPerformance(
            classes[place],
            of_class,
            said,
            precision=share(both, said),
            recall=share(both, of_class),
            false_positive_rate=share(said - both, total - of_class),
        )
        for place, (of_class, said, both) in enumerate(
            zip(images.tolist(), answered.tolist(), right.tolist(), strict=True)
        )
        if of_class or said
    )


def members(rows: LabelledRows, column: str) -> list[tuple[str, NDArray[np.bool_]]]:
    """Each value of a metadata column with the rows that have it; rows without the column belong to none."""
    values = np.array([row.get(column, "") for row in rows.metadata], dtype=object)
    return [(str(value), values == value) for value in sorted(set(values) - {""})]


def labelled_rows(frame: pl.DataFrame, model_version: int | None = None) -> LabelledRows:
    """The rows of `PredictionLog.labelled()`, of one version where it is given."""
    if model_version is not None:
        frame = frame.filter(pl.col("model_version") == model_version)
    return LabelledRows(
        truth=tuple(frame["true_label"].to_list()),
        answered=tuple(frame["label"].to_list()),
        metadata=tuple(json.loads(text) for text in frame["metadata"].to_list()),
    )


def share(count: int, of: int) -> Interval:
    """A proportion with its two-sided 95 % Wilson interval."""
    if of <= 0:
        return Interval(None, None, None)
    return Interval(count / of, *wilson(count, of))
