"""How far a block's predictions are from a reference: one number per detector of the block lane."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from monitoring.evidence_records import BLOCK_DETECTORS
from monitoring.reference.profile import CATEGORY, NUMBER, ReferenceProfile
from monitoring.watching.batch import Batch, Floats

Truths = NDArray[np.bool_]

_OUTPUTS, _EMBEDDING, _PICTURES, _MIX = BLOCK_DETECTORS
_MOST_CLASSES = 20
_FEATURES = 256
_PAIRS = 2_000
_BINS = 10


@dataclass(frozen=True)
class BlockReference:
    """
    A profile, prepared for measuring many blocks.

    Attributes:
        outputs: Per number of the outputs, the reference's values in rising order.
        class_columns: Which probabilities stand alone; the rest is pooled.
        statistics: Per image statistic, the reference's values in rising order; empty where it has none.
        frequencies: Of the random Fourier features, shape (k, 256); None where the reference has no embedding.
        features: The reference's mean feature, shape (512,).
        mixes: Column ("" is the predicted class) to value and share; a number's values are its tenths.
        bins: Numeric column to the edges of those tenths.
    """

    profile: ReferenceProfile
    outputs: tuple[Floats, ...]
    class_columns: tuple[int, ...]
    statistics: tuple[Floats, ...]
    frequencies: Floats | None
    features: Floats
    mixes: Mapping[str, Mapping[str, float]]
    bins: Mapping[str, Floats]


def reference_of(profile: ReferenceProfile) -> BlockReference:
    """The profile's pictures as they are, each once, prepared for measuring."""
    plain = profile.plain
    columns = _commonest(plain.labels, profile.classes)
    bins = {
        name: edges
        for name, column in profile.columns.items()
        if column.kind == NUMBER and len(edges := _tenths(_numbers(plain, name)))
    }
    frequencies, features = _fourier(profile)
    return BlockReference(
        profile=profile,
        outputs=tuple(_sorted(values) for values in _outputs(plain, columns)),
        class_columns=columns,
        statistics=tuple(_sorted(values) for values in plain.statistics.T),
        frequencies=frequencies,
        features=features,
        mixes=_mixes(profile, plain, bins),
        bins=bins,
    )


def distances(reference: BlockReference, batch: Batch, count: int) -> dict[str, float]:
    """
    Per detector, the distance of the first `count` predictions that can be measured; a detector with fewer is missing.

    Outputs and image statistics are means of Kolmogorov-Smirnov distances; the embedding is the squared maximum mean
    discrepancy with 256 random Fourier features (Rahimi and Recht 2007) in the profile's principal components; the mix
    is the largest total-variation distance of the predicted class and the metadata columns. All are 0 for the same.
    """
    measures: dict[str, tuple[Truths, Callable[[Batch], float | None]]] = {
        _OUTPUTS: (
            _usable(batch.probabilities, len(reference.profile.classes)),
            lambda rows: _of_outputs(reference, rows),
        ),
        _EMBEDDING: (
            _usable(batch.embedding, reference.profile.embedding_size),
            lambda rows: _of_embedding(reference, rows),
        ),
        _PICTURES: (_with_any(batch.statistics), lambda rows: _of_pictures(reference, rows)),
        _MIX: (np.array([label != "" for label in batch.labels], dtype=bool), lambda rows: _of_mix(reference, rows)),
    }
    found = {}
    for name, (usable, measure) in measures.items():
        places = np.flatnonzero(usable)[:count]
        value = measure(_rows(batch, places)) if len(places) == count else None
        if value is not None and np.isfinite(value):
            found[name] = float(value)
    return found


def origin_distances(reference: BlockReference, batch: Batch) -> dict[str, float]:
    """Per detector, how far all of these predictions are from the origin, each on a scale of 0 to 1."""
    counts = {name: len(batch) for name in BLOCK_DETECTORS}
    counts[_OUTPUTS] = int(_usable(batch.probabilities, len(reference.profile.classes)).sum())
    counts[_EMBEDDING] = int(_usable(batch.embedding, reference.profile.embedding_size).sum())
    counts[_PICTURES] = int(_with_any(batch.statistics).sum())
    counts[_MIX] = sum(1 for label in batch.labels if label != "")
    found = {}
    for name, count in counts.items():
        value = distances(reference, batch, count).get(name) if count else None
        if value is not None:
            # A squared discrepancy of 2 is that of two worlds without anything in common.
            found[name] = min(1.0, sqrt(max(0.0, value) / 2)) if name == _EMBEDDING else value
    return found


def _of_outputs(reference: BlockReference, rows: Batch) -> float | None:
    values = _outputs(rows, reference.class_columns)
    return _mean_distance(reference.outputs, [_sorted(column) for column in values])


def _of_pictures(reference: BlockReference, rows: Batch) -> float | None:
    return _mean_distance(reference.statistics, [_sorted(column) for column in rows.statistics.T])


def _of_embedding(reference: BlockReference, rows: Batch) -> float | None:
    if reference.frequencies is None:
        return None
    difference = (
        _features(reference.profile.projection.apply(rows.embedding), reference.frequencies) - reference.features
    )
    return float(difference @ difference)


def _of_mix(reference: BlockReference, rows: Batch) -> float | None:
    mixes = _mixes(reference.profile, rows, reference.bins)
    shifts = [
        sum(abs(before.get(value, 0.0) - mixes[name].get(value, 0.0)) for value in {*before, *mixes[name]}) / 2
        for name, before in reference.mixes.items()
        if before and mixes.get(name)
    ]
    return max(shifts, default=None)


def _mean_distance(reference: Sequence[Floats], block: Sequence[Floats]) -> float | None:
    """Mean Kolmogorov-Smirnov distance over the columns that both sides have."""
    found = [_kolmogorov(before, now) for before, now in zip(reference, block, strict=True) if len(before) and len(now)]
    return sum(found) / len(found) if found else None


def _kolmogorov(first: Floats, second: Floats) -> float:
    places = np.concatenate([first, second])
    below_first = np.searchsorted(first, places, side="right") / len(first)
    below_second = np.searchsorted(second, places, side="right") / len(second)
    return float(np.abs(below_first - below_second).max())


def _outputs(batch: Batch, class_columns: Sequence[int]) -> list[Floats]:
    """Confidence, entropy, the commonest classes' probabilities, and the sum of the rest where there is any."""
    probabilities = batch.probabilities
    found = [batch.confidence, batch.entropy, *(probabilities[:, column] for column in class_columns)]
    rest = sorted(set(range(probabilities.shape[1])) - set(class_columns))
    return [*found, probabilities[:, rest].sum(axis=1)] if rest else found


def _fourier(profile: ReferenceProfile) -> tuple[Floats | None, Floats]:
    """Frequencies for a Gaussian kernel as wide as the median distance between two reference pictures."""
    plain = profile.plain
    known = plain.embedding[np.isfinite(plain.embedding).all(axis=1)]
    if len(known) < 2:  # noqa: PLR2004 - a distance needs two
        return None, np.zeros(2 * _FEATURES)
    projected = profile.projection.apply(known)
    # The same features for every block, and for every process that measures one.
    chance = np.random.default_rng(0)
    first, second = chance.integers(0, len(projected), (2, _PAIRS))
    squared = ((projected[first] - projected[second]) ** 2).sum(axis=1)[first != second]
    width = float(np.sqrt(np.median(squared))) if len(squared) else 1.0
    frequencies = chance.normal(0, 1 / max(width, 1e-9), (projected.shape[1], _FEATURES))
    return frequencies, _features(projected, frequencies)


def _features(projected: Floats, frequencies: Floats) -> Floats:
    """The mean random Fourier feature of rows, shape (512,), of length at most 1."""
    angles = projected @ frequencies
    mean: Floats = np.concatenate([np.cos(angles).mean(axis=0), np.sin(angles).mean(axis=0)]) / sqrt(_FEATURES)
    return mean


def _mixes(profile: ReferenceProfile, batch: Batch, bins: Mapping[str, Floats]) -> dict[str, dict[str, float]]:
    """
    Shares of the predicted classes, and of every column's values among the rows that have one.

    A column that nobody sends is no mix: at a distance of 1 for ever it would hide all the others.
    """
    found = {"": _shares(Counter(batch.labels))}
    for name, column in profile.columns.items():
        if column.kind == CATEGORY:
            found[name] = _shares(Counter(value for row in batch.metadata if (value := row.get(name, "")) != ""))
        elif name in bins:
            values = _numbers(batch, name)
            places = np.searchsorted(bins[name], values[np.isfinite(values)], side="right")
            found[name] = _shares(Counter(places.tolist()))
    return found


def _shares(counts: Mapping[object, int]) -> dict[str, float]:
    total = sum(counts.values())
    return {str(value): count / total for value, count in counts.items()} if total else {}


def _tenths(values: Floats) -> Floats:
    known = values[np.isfinite(values)]
    return np.unique(np.quantile(known, np.linspace(0, 1, _BINS + 1)[1:-1])) if len(known) else np.empty(0)


def _numbers(batch: Batch, name: str) -> Floats:
    return np.array([_number(row.get(name, "")) for row in batch.metadata], dtype=np.float64)


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _commonest(labels: Sequence[str], classes: Sequence[str]) -> tuple[int, ...]:
    counts = Counter(labels)
    order = sorted(range(len(classes)), key=lambda index: (-counts[classes[index]], index))
    return tuple(sorted(order[:_MOST_CLASSES]))


def _usable(values: Floats, width: int) -> Truths:
    if values.shape[1] != width:
        return np.zeros(len(values), dtype=bool)
    return np.asarray(np.isfinite(values).all(axis=1))


def _with_any(values: Floats) -> Truths:
    return np.asarray(np.isfinite(values).any(axis=1))


def _sorted(values: Floats) -> Floats:
    return np.sort(values[np.isfinite(values)])


def _rows(batch: Batch, places: NDArray[np.intp]) -> Batch:
    return Batch(
        batch.statistics[places],
        batch.probabilities[places],
        batch.embedding[places],
        tuple(batch.labels[place] for place in places),
        tuple(batch.metadata[place] for place in places),
    )
