"""Fitting a reference profile to scored images: centres, projection, limits, and what each metadata column is."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from monitoring.evidence_records import CHANNELS
from monitoring.image_stats import NAMES
from monitoring.reference.profile import (
    CATEGORY,
    IDENTIFIER,
    NUMBER,
    Column,
    Projection,
    ReferenceProfile,
    largest_deviation,
    robust_centre,
)
from monitoring.watching.batch import Batch, Floats

_COMPONENTS = 32
_TYPICAL = 0.99
_FEW_VALUES = 20
_LEAST_TO_HALVE = 40
# Smaller deviations than these are nothing to anybody, however constant the reference is.
_LEAST_SCALE = {"brightness": 0.01, "contrast": 0.01, "sharpness": 0.003, "saturation": 0.01, "noise": 0.002,
                "aspect": 0.02, "megapixels": 1e-4, "warmth": 0.01, "compression": 0.01}  # fmt: skip


def fit(
    batch: Batch,
    truth: Sequence[str],
    *,
    version: int,
    classes: Sequence[str],
    rounds: int,
    judged_errors: Mapping[str, tuple[int, int]],
    columns: Mapping[str, Column] | None = None,
) -> ReferenceProfile:
    """
    The profile of scored held-out images.

    Args:
        batch: `rounds` times the same images in the same order, each time distorted afresh.
        truth: Label of each row.
        version: Of the model.
        classes: In the order of the probabilities.
        rounds: See `batch`.
        judged_errors: See `ReferenceProfile`.
        columns: Of the metadata; by default as `columns_of` finds them in the batch.
    """
    images = len(batch) // rounds
    median, scale = robust_centre(batch.statistics, np.array([_LEAST_SCALE.get(name, 1e-3) for name in NAMES]))
    # Halves are made of images, not of rows: copies of one image in both halves would look too near.
    image_of_row = np.tile(np.arange(images), rounds)
    distances = _held_out_distances(batch.embedding, image_of_row)
    # Rows that the components were fitted on vary along them more than any other rows ever will.
    unseen = np.arange(images) % 2 == 1 if images >= _LEAST_TO_HALVE else np.zeros(images, dtype=bool)
    largest = largest_deviation(batch.statistics, median, scale)
    scores = {CHANNELS[0]: largest, CHANNELS[1]: distances, CHANNELS[2]: batch.entropy}
    return ReferenceProfile(
        version=version,
        classes=tuple(classes),
        images=images,
        batch=batch,
        truth=tuple(truth),
        median=median,
        scale=scale,
        projection=_projection(batch.embedding[~unseen[image_of_row]]),
        distances=distances,
        limits={channel: _limit(values) for channel, values in scores.items()},
        columns=columns_of(batch.metadata[:images]) if columns is None else columns,
        judged_errors=dict(judged_errors),
        unseen=unseen,
    )


def columns_of(
    metadata: Sequence[Mapping[str, str]],
    trained_on: Sequence[Mapping[str, str]] = (),
    categories: frozenset[str] = frozenset(),
    identifiers: frozenset[str] = frozenset(),
) -> dict[str, Column]:
    """
    The metadata columns of held-out images.

    Values that only training images have are known, too: of a category with a count of 0, of a number by its range.

    Args:
        metadata: Of the held-out images.
        trained_on: Of the training images.
        categories: Columns that are categories whatever their values look like.
        identifiers: Columns that name images or sessions.
    """
    found = {}
    for name in sorted({name for row in metadata for name in row}):
        values = [value for row in metadata if (value := row.get(name, "")) != ""]
        if name in identifiers:
            found[name] = Column(IDENTIFIER, {})
        elif values:
            column = _column(values, len(metadata), known_category=name in categories)
            found[name] = _widened(column, {value for row in trained_on if (value := row.get(name, "")) != ""})
    return found


def _widened(column: Column, also: set[str]) -> Column:
    if column.kind == CATEGORY:
        return replace(column, values={**dict.fromkeys(sorted(also), 0), **column.values})
    numbers = _numbers(also) if column.kind == NUMBER and also else None
    if numbers is None:
        return column
    return replace(column, low=min(column.low, float(numbers.min())), high=max(column.high, float(numbers.max())))


def _projection(embedding: Floats) -> Projection:
    mean = embedding.mean(axis=0)
    _, singular, rows = np.linalg.svd(embedding - mean, full_matrices=False)
    deviation = singular / np.sqrt(max(1, len(embedding) - 1))
    # Directions in which the reference hardly varies would turn rounding into distance.
    kept = int((deviation > 1e-3 * max(deviation[0], 1e-12)).sum())
    size = max(1, min(_COMPONENTS, kept))
    return Projection(mean, rows[:size], np.maximum(deviation[:size], 1e-9))


def _held_out_distances(embedding: Floats, image_of_row: NDArray[np.intp]) -> Floats:
    """Each row's distance from the centre of the other half of the images: on its own half it would look too near."""
    distances = np.empty(len(embedding))
    for half in (0, 1):
        mine = image_of_row % 2 == half
        if mine.all():
            return _projection(embedding).distance(embedding)
        if mine.any():
            distances[mine] = _projection(embedding[~mine]).distance(embedding[mine])
    return distances


def _limit(scores: Floats) -> float:
    known = scores[np.isfinite(scores)]
    return float(np.quantile(known, _TYPICAL, method="higher")) if len(known) else float("inf")


def _column(values: Sequence[str], images: int, *, known_category: bool) -> Column:
    counts = Counter(values)
    if known_category or len(counts) <= _FEW_VALUES:
        return Column(CATEGORY, dict(sorted(counts.items())))
    numbers = _numbers(counts)
    if numbers is not None and not (len(counts) > 0.9 * images and (numbers == numbers.round()).all()):
        return Column(NUMBER, {}, float(numbers.min()), float(numbers.max()))
    # File names, counters, time stamps: nearly each image has its own, so a new one means nothing.
    if numbers is not None or len(counts) > 0.2 * images:
        return Column(IDENTIFIER, {})
    return Column(CATEGORY, dict(sorted(counts.items())))


def _numbers(values: Iterable[str]) -> Floats | None:
    try:
        numbers = np.array([float(value) for value in values])
    except ValueError:
        return None
    return numbers if np.isfinite(numbers).all() else None
