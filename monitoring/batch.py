"""Predictions as columns: what every signal is computed from."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from models.prediction import Prediction
from monitoring.image_stats import NAMES

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Batch:
    """
    Predictions of one model version, a row each; what is missing or malformed is NaN, never left out.

    Attributes:
        statistics: shape (N, S), in the order of `monitoring.image_stats.NAMES`.
        probabilities: shape (N, K), in the order of the model's classes.
        embedding: shape (N, D).
        labels: N predicted labels.
        metadata: N flat mappings.
    """

    statistics: Floats
    probabilities: Floats
    embedding: Floats
    labels: tuple[str, ...]
    metadata: tuple[Mapping[str, str], ...]

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

    @cached_property
    def confidence(self) -> Floats:
        """Shape (N,): the largest probability."""
        return self.probabilities.max(axis=1) if self.probabilities.shape[1] else np.full(len(self), np.nan)

    @cached_property
    def entropy(self) -> Floats:
        """Shape (N,): of the probabilities, in nats; NaN where one of them is."""
        return entropy_of(self.probabilities)


def batch_of(predictions: Sequence[Prediction], classes: int, embedding_size: int) -> Batch:
    """Columns of `predictions`; rows of another length than the model's are NaN."""
    return Batch(
        statistics=_stacked([row.statistics for row in predictions], len(NAMES)),
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


def _stacked(rows: Sequence[Sequence[float] | NDArray[np.float32]], width: int) -> Floats:
    stacked = np.full((len(rows), width), np.nan)
    for position, row in enumerate(rows):
        if len(row) == width:
            stacked[position] = row
    # An infinite value says as little as none at all.
    stacked[~np.isfinite(stacked)] = np.nan
    return stacked
