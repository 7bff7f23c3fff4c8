"""What a batch of predictions looks like beside the reference: atypical ones, and the size of each difference."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from monitoring.batch import Batch, Floats
from monitoring.evidence import CHANNELS
from monitoring.image_stats import NAMES
from monitoring.reference import CATEGORY, IDENTIFIER, NUMBER, ReferenceProfile

_PICTURE, _EMBEDDING, _UNCERTAINTY, _METADATA = CHANNELS
_MOST_CLASSES = 20
_LEAST_ROWS = 5


@dataclass(frozen=True)
class Signal:
    """
    One difference from the reference.

    Attributes:
        family: "image statistics", "embedding", "outputs", "predicted mix" or "metadata".
        effect: 0 (the same) to 1 (nothing in common): Kolmogorov-Smirnov distance of a number, total-variation
            distance of a category.
        reference, window: The means of a number; None for a category.
    """

    family: str
    name: str
    effect: float
    reference: float | None = None
    window: float | None = None


@dataclass(frozen=True)
class DriftReport:
    """
    A batch beside the reference.

    Attributes:
        atypical: Channel to the share of atypical predictions, 0..1; a channel that could not be scored is missing.
        signals: Largest effect first.
        new_values: Metadata column to the values that the reference never saw, with their number.
        notes: What could not be compared, in words.
    """

    atypical: Mapping[str, float]
    signals: tuple[Signal, ...]
    new_values: Mapping[str, Mapping[str, int]]
    notes: tuple[str, ...]


def drift_report(profile: ReferenceProfile, batch: Batch) -> DriftReport:
    """The batch beside the reference; with fewer than five rows only the atypical shares are given."""
    scored = atypical(profile, batch)
    shares = {name: float(np.nanmean(values)) for name, values in scored.items() if np.isfinite(values).any()}
    signals = sorted(_signals(profile, batch), key=lambda signal: -signal.effect) if len(batch) >= _LEAST_ROWS else []
    return DriftReport(shares, tuple(signals), new_values(profile, batch.metadata), tuple(_notes(profile, batch)))


def atypical(profile: ReferenceProfile, batch: Batch) -> dict[str, Floats]:
    """
    Per channel, shape (N,): 1 where a prediction's score lies beyond what 99 in 100 reference images reach, else 0.

    NaN where a prediction cannot be scored, because a number is missing or not finite.
    """
    if not len(batch):
        return {channel: np.empty(0) for channel in CHANNELS}
    z = np.abs(batch.statistics - profile.median) / profile.scale
    # A picture is atypical when one statistic is, so one that is missing hides nothing else.
    worst = np.where(np.isfinite(z).any(axis=1), np.nan_to_num(z, nan=-1.0).max(axis=1), np.nan)
    new = [any(profile.columns[name].is_new(value) for name, value in row.items() if name in profile.columns)
           for row in batch.metadata]  # fmt: skip
    return {
        _PICTURE: _beyond(worst, profile.limits[_PICTURE]),
        _EMBEDDING: _beyond(profile.projection.distance(batch.embedding), profile.limits[_EMBEDDING]),
        _UNCERTAINTY: _beyond(batch.entropy, profile.limits[_UNCERTAINTY]),
        _METADATA: np.array(new, dtype=np.float64) if profile.columns else np.full(len(batch), np.nan),
    }


def new_values(profile: ReferenceProfile, metadata: Iterable[Mapping[str, str]]) -> dict[str, dict[str, int]]:
    """Values of category columns that the reference never saw, with how often they came."""
    found: dict[str, Counter[str]] = {}
    for row in metadata:
        for name, value in row.items():
            column = profile.columns.get(name)
            if column is not None and column.kind == CATEGORY and column.is_new(value):
                found.setdefault(name, Counter())[value] += 1
    return {name: dict(counts.most_common(20)) for name, counts in sorted(found.items())}


def distance_between(reference: Floats, window: Floats) -> float:
    """Kolmogorov-Smirnov distance of two samples, 0..1; only finite values count, and none at all gives 0."""
    first, second = np.sort(reference[np.isfinite(reference)]), np.sort(window[np.isfinite(window)])
    if not len(first) or not len(second):
        return 0.0
    places = np.concatenate([first, second])
    below_first = np.searchsorted(first, places, side="right") / len(first)
    below_second = np.searchsorted(second, places, side="right") / len(second)
    return float(np.abs(below_first - below_second).max())


def mix_distance(reference: Mapping[str, int], window: Mapping[str, int]) -> float:
    """Total-variation distance of two mixes, 0..1."""
    first, second = sum(reference.values()), sum(window.values())
    if not first or not second:
        return 0.0
    values = set(reference) | set(window)
    return sum(abs(reference.get(value, 0) / first - window.get(value, 0) / second) for value in values) / 2


def _signals(profile: ReferenceProfile, batch: Batch) -> list[Signal]:
    reference = profile.plain
    found = [
        _numeric("image statistics", name, reference.statistics[:, index], batch.statistics[:, index])
        for index, name in enumerate(NAMES)
    ]
    distances = profile.projection.distance(batch.embedding)
    found.append(_numeric("embedding", "distance from the centre", profile.distances[: profile.images], distances))
    found.append(_numeric("outputs", "confidence", reference.confidence, batch.confidence))
    found.append(_numeric("outputs", "entropy", reference.entropy, batch.entropy))
    for index in _commonest(reference.labels, profile.classes):
        name = f"probability of {profile.classes[index]}"
        found.append(_numeric("outputs", name, reference.probabilities[:, index], batch.probabilities[:, index]))
    mix = mix_distance(Counter(reference.labels), Counter(batch.labels))
    found.append(Signal("predicted mix", "predicted class", mix))
    return found + _metadata_signals(profile, batch)


def _metadata_signals(profile: ReferenceProfile, batch: Batch) -> list[Signal]:
    found = []
    for name, column in profile.columns.items():
        values = [value for row in batch.metadata if (value := row.get(name, "")) != ""]
        if not values:
            continue
        if column.kind == CATEGORY:
            found.append(Signal("metadata", name, mix_distance(column.values, Counter(values))))
        elif column.kind == NUMBER:
            before = [row.get(name, "") for row in profile.plain.metadata]
            found.append(_numeric("metadata", name, _as_numbers(before), _as_numbers(values)))
    return found


def _numeric(family: str, name: str, reference: Floats, window: Floats) -> Signal:
    return Signal(family, name, distance_between(reference, window), _mean(reference), _mean(window))


def _mean(values: Floats) -> float | None:
    known = values[np.isfinite(values)]
    return float(known.mean()) if len(known) else None


def _as_numbers(values: Sequence[str]) -> Floats:
    numbers = []
    for value in values:
        try:
            numbers.append(float(value))
        except ValueError:
            numbers.append(float("nan"))
    return np.array(numbers, dtype=np.float64)


def _commonest(labels: Sequence[str], classes: Sequence[str]) -> list[int]:
    counts = Counter(labels)
    return sorted(range(len(classes)), key=lambda index: (-counts[classes[index]], index))[:_MOST_CLASSES]


def _beyond(scores: Floats, limit: float) -> Floats:
    return np.where(np.isfinite(scores), (scores > limit).astype(np.float64), np.nan)


def _notes(profile: ReferenceProfile, batch: Batch) -> list[str]:
    notes = []
    for what, values in (("probabilities", batch.probabilities), ("embedding", batch.embedding)):
        bad = int((~np.isfinite(values)).any(axis=1).sum()) if values.shape[1] else 0
        if bad:
            notes.append(f"{bad} of {len(batch)} predictions have no usable {what}; they are left out of its signals.")
    unknown = sorted({name for row in batch.metadata for name in row} - set(profile.columns))
    if unknown:
        notes.append(f"Not in the reference, hence not compared: {', '.join(unknown)}.")
    for name, column in profile.columns.items():
        if column.kind == IDENTIFIER:
            continue
        missing = sum(1 for row in batch.metadata if row.get(name, "") == "")
        if missing:
            notes.append(f"{name} is missing in {missing} of {len(batch)} predictions.")
    return notes
