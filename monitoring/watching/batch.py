"""Predictions as columns: what every signal is computed from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from models.prediction import Prediction
from monitoring.image_stats import EARLIEST, NAMES
from monitoring.reference.coded import Coded, CodedRows, coded

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Batch:
    """
    Predictions of one model version, a row each; what is missing or malformed is NaN, never left out.

    The numbers are float64 or float32. Of a large batch the labels and the metadata lie in columns (`Coded`,
    `CodedRows`), which read like the sequences that they are; `column` is the fast way to one metadata column.

    Attributes:
        statistics: shape (N, S), in the order of `monitoring.image_stats.NAMES`.
        probabilities: shape (N, K), in the order of the model's classes.
        embedding: shape (N, D), or already projected, where the profile beside it is a reduced one.
        labels: N predicted labels.
        metadata: N flat mappings.
    """

    statistics: Floats
    probabilities: Floats
    embedding: Floats
    labels: Sequence[str]
    metadata: Sequence[Mapping[str, str]]

    def __len__(self) -> int:
        return len(self.labels)

    def first(self, count: int) -> "Batch":
        """The first rows alone."""
        return Batch(
            self.statistics[:count],
            self.probabilities[:count],
            self.embedding[:count],
            self.labels[:count],
            self.metadata[:count],
        )

    def take(self, rows: NDArray[np.intp] | NDArray[np.bool_]) -> "Batch":
        """The chosen rows alone, by their places or by a truth for each."""
        places = np.flatnonzero(rows) if rows.dtype == np.bool_ else rows
        return Batch(
            self.statistics[rows],
            self.probabilities[rows],
            self.embedding[rows],
            self.labels.take(rows) if isinstance(self.labels, Coded) else tuple(self.labels[row] for row in places),
            self.metadata.take(rows)
            if isinstance(self.metadata, CodedRows)
            else tuple(self.metadata[row] for row in places),
        )

    @property
    def column_names(self) -> tuple[str, ...]:
        """The metadata columns that some row has, in alphabetical order."""
        if isinstance(self.metadata, CodedRows):
            return tuple(sorted(self.metadata.columns))
        return tuple(sorted({name for row in self.metadata for name in row}))

    def column(self, name: str) -> Coded:
        """One metadata column; rows without it, or with an empty text, are missing there."""
        if isinstance(self.metadata, CodedRows):
            found = self.metadata.columns.get(name)
            return Coded((), np.full(len(self), -1, dtype=np.int32)) if found is None else found
        return coded([row.get(name, "") for row in self.metadata])

    @cached_property
    def coded_labels(self) -> Coded:
        """The predicted labels as numbers."""
        return coded(self.labels)

    @cached_property
    def confidence(self) -> Floats:
        """Shape (N,): the largest probability."""
        return self.probabilities.max(axis=1) if self.probabilities.shape[1] else np.full(len(self), np.nan)

    @cached_property
    def entropy(self) -> Floats:
        """Shape (N,): of the probabilities, in nats; NaN where one of them is."""
        return entropy_of(self.probabilities)


def batch_of(predictions: Sequence[Prediction], classes: int, embedding_size: int) -> Batch:
    """
    Columns of `predictions`; rows of another length than the model's are NaN.

    A row that was written before an image statistic was added has the others.
    """
    return Batch(
        statistics=_stacked([row.statistics for row in predictions], len(NAMES), least=EARLIEST),
        probabilities=_stacked([row.probabilities for row in predictions], classes),
        embedding=_stacked([() if row.embedding is None else row.embedding for row in predictions], embedding_size),
        labels=tuple(row.label for row in predictions),
        metadata=tuple(row.metadata for row in predictions),
    )


def entropy_of(probabilities: Floats) -> Floats:
    """Shape (N,): entropy of each row in nats."""
    if not probabilities.shape[1]:
        return np.full(len(probabilities), np.nan)
    logs = np.log(np.clip(probabilities, 1e-12, None))
    entropy: Floats = np.abs((probabilities * logs).sum(axis=1))
    return entropy


def _stacked(rows: Sequence[Sequence[float] | NDArray[np.float32]], width: int, *, least: int | None = None) -> Floats:
    """Shape (N, `width`); a row of at least `least` numbers is filled up with NaN."""
    stacked = np.full((len(rows), width), np.nan)
    for position, row in enumerate(rows):
        if len(row) == width or (least is not None and least <= len(row) < width):
            stacked[position, : len(row)] = row
    # An infinite value says as little as none at all.
    stacked[~np.isfinite(stacked)] = np.nan
    return stacked
