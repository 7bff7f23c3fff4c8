"""Profile and window with their embeddings projected already: what a million rows are compared by."""

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from monitoring.log.columns import batch_in
from monitoring.reference.profile import Projection, ReferenceProfile
from monitoring.watching.batch import Batch, Floats

# As many rows as pass through a processor's cache rather than through memory.
_ROWS_AT_ONCE = 4_096


@dataclass(frozen=True)
class Projected(Projection):
    """The projection of what is projected already: it changes nothing."""

    def apply(self, embedding: Floats) -> Floats:
        return embedding

    def distance(self, embedding: Floats) -> Floats:
        """Shape (N,): as `Projection.distance`, without a second array of that size."""
        distance: Floats = np.sqrt(np.einsum("ij,ij->i", embedding, embedding) / max(1, len(self.scale)))
        return distance


@dataclass(frozen=True)
class Reduction:
    """
    The way from a model's embeddings to their principal components, and its profile as it looks from there.

    Whatever compares a window with a profile through `profile.projection` gets the same from the reduced pair, at a
    sixteenth of the memory where an embedding has 512 numbers.

    Attributes:
        profile: Its projection changes nothing, and its reference rows are projected.
        projection: The model's own, float32.
        classes: Of the model.
    """

    profile: ReferenceProfile
    projection: Projection
    classes: int

    def batch(self, frame: pl.DataFrame) -> Batch:
        """Rows of the prediction log, projected."""
        plain = batch_in(frame, self.classes, len(self.projection.mean))
        return replace(plain, embedding=project(self.projection, plain.embedding))


def reduction(profile: ReferenceProfile) -> Reduction:
    """How the windows of this profile's model are reduced."""
    own = profile.projection
    single = Projection(_single(own.mean), _single(own.components), _single(own.scale))
    size = len(own.scale)
    identity = Projected(_single(np.zeros(size)), _single(np.eye(size)), _single(np.ones(size)))
    plain = profile.batch
    # Rounded as the log rounds: a number that never varies must be equal on both sides.
    batch = replace(
        plain,
        statistics=_single(plain.statistics),
        probabilities=_single(plain.probabilities),
        embedding=_single(own.apply(plain.embedding)),
    )
    return Reduction(replace(profile, batch=batch, projection=identity), single, len(profile.classes))


def project(projection: Projection, embedding: Floats) -> Floats:
    """Shape (N, k), float32, a few thousand rows at a time."""
    found = room(len(embedding), len(projection.scale))
    for start in range(0, len(embedding), _ROWS_AT_ONCE):
        part = slice(start, start + _ROWS_AT_ONCE)
        found[part] = projection.apply(embedding[part])
    return found


def room(rows: int, width: int) -> Floats:
    """Shape (N, `width`), float32, not yet filled."""
    empty: Floats = np.empty((rows, width), dtype=np.float32)
    return empty


def _single(numbers: Floats) -> Floats:
    single: Floats = numbers.astype(np.float32)
    return single
