"""What a batch of predictions looks like beside the reference: atypical ones, and the size of each difference."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitoring.detectors.detecting import Detected, detect
from monitoring.detectors.detection import Detection
from monitoring.detectors.whole_window import WindowTest, compare_window
from monitoring.evidence_records import CHANNELS
from monitoring.reference.coded import MISSING, Coded
from monitoring.reference.profile import CATEGORY, IDENTIFIER, Column, ReferenceProfile, largest_deviation
from monitoring.watching.batch import Batch, Floats

_PICTURE, _EMBEDDING, _UNCERTAINTY, _METADATA = CHANNELS
_LEAST_ROWS = 5
_MOST_NEW_VALUES = 20
_MOST_VANISHED, _BY_CHANCE = 5, 0.001


@dataclass(frozen=True)
class Signal:
    """
    One difference from the reference.

    Attributes:
        family: "image statistics", "embedding", "outputs", "predicted mix" or "metadata".
        effect: 0 (the same) to 1 (nothing in common): Kolmogorov-Smirnov distance of a number, total-variation
            distance of a category.
        reference, window: The means of a number; None for a category.
        p_value: Of this window alone, corrected for its family; many windows have small ones by chance.
        statistic: Of the test behind it.
    """

    family: str
    name: str
    effect: float
    reference: float | None = None
    window: float | None = None
    p_value: float | None = None
    statistic: float | None = None


@dataclass(frozen=True)
class DriftReport:
    """
    A batch beside the reference.

    Attributes:
        atypical: Channel to the share of atypical predictions, 0..1; a channel that could not be scored is missing.
        signals: Largest effect first.
        new_values: Metadata column to the values that the reference never saw, with their number.
        notes: What could not be compared, in words.
        detections: What the signals are made of, with the rows behind each; in the detectors' order.
        whole: All of it together: one p-value, and words.
    """

    atypical: Mapping[str, float]
    signals: tuple[Signal, ...]
    new_values: Mapping[str, Mapping[str, int]]
    notes: tuple[str, ...]
    detections: tuple[Detection, ...]
    whole: WindowTest


def drift_report(profile: ReferenceProfile, batch: Batch, detectors: Sequence[str] = ()) -> DriftReport:
    """
    The batch beside the reference; with fewer than five rows only the atypical shares are given.

    detectors: users' own, as the setting `monitor.detectors` names them.
    """
    scored = atypical(profile, batch)
    shares = {name: float(np.nanmean(values)) for name, values in scored.items() if np.isfinite(values).any()}
    found = detect(profile, batch, detectors) if len(batch) >= _LEAST_ROWS else Detected((), (), ())
    return DriftReport(
        atypical=shares,
        signals=tuple(sorted(map(_signal, found.detections), key=lambda signal: -signal.effect)),
        new_values=new_values(profile, batch),
        notes=(*_notes(profile, batch), *found.notes),
        detections=found.detections,
        whole=compare_window(profile, batch, detections=found.detections, added=found.added),
    )


def atypical(profile: ReferenceProfile, batch: Batch) -> dict[str, Floats]:
    """
    Per channel, shape (N,): 1 where a prediction's score lies beyond what 99 in 100 reference images reach, else 0.

    NaN where a prediction cannot be scored, because a number is missing or not finite.
    """
    if not len(batch):
        return {channel: np.empty(0) for channel in CHANNELS}
    worst = largest_deviation(batch.statistics, profile.median, profile.scale)
    new = np.zeros(len(batch), dtype=bool)
    for name in batch.column_names:
        if name in profile.columns:
            new |= _is_new(profile.columns[name], batch.column(name))
    return {
        _PICTURE: _beyond(worst, profile.limits[_PICTURE]),
        _EMBEDDING: _beyond(profile.projection.distance(batch.embedding), profile.limits[_EMBEDDING]),
        _UNCERTAINTY: _beyond(batch.entropy, profile.limits[_UNCERTAINTY]),
        _METADATA: new.astype(np.float64) if profile.columns else np.full(len(batch), np.nan),
    }


def new_values(profile: ReferenceProfile, batch: Batch) -> dict[str, dict[str, int]]:
    """Values of category columns that the reference never saw, with how often they came: the twenty most frequent."""
    found = {}
    for name in batch.column_names:
        column = profile.columns.get(name)
        if column is not None and column.kind == CATEGORY:
            counts = {value: count for value, count in batch.column(name).counts().items() if column.is_new(value)}
            if counts:
                found[name] = dict(list(counts.items())[:_MOST_NEW_VALUES])
    return found


def _signal(one: Detection) -> Signal:
    return Signal(one.family, one.name, one.effect, one.reference, one.window, one.p_value, one.statistic)


def _is_new(column: Column, values: Coded) -> NDArray[np.bool_]:
    return values.where([column.is_new(value) for value in values.values])


def _beyond(scores: Floats, limit: float) -> Floats:
    return np.where(np.isfinite(scores), (scores > limit).astype(np.float64), np.nan)


def _notes(profile: ReferenceProfile, batch: Batch) -> list[str]:
    notes = []
    for what, values in (("probabilities", batch.probabilities), ("embedding", batch.embedding)):
        bad = int((~np.isfinite(values)).any(axis=1).sum()) if values.shape[1] else 0
        if bad:
            notes.append(f"{bad} of {len(batch)} predictions have no usable {what}; they are left out of its signals.")
    unknown = sorted(set(batch.column_names) - set(profile.columns))
    if unknown:
        notes.append(f"Not in the reference, hence not compared: {', '.join(unknown)}.")
    for name, column in profile.columns.items():
        if column.kind == IDENTIFIER:
            continue
        present = batch.column(name)
        missing = int((present.codes == MISSING).sum())
        if missing:
            notes.append(f"{name} is missing in {missing} of {len(batch)} predictions.")
        notes += _vanished(name, column, present.counts())
    return notes


def _vanished(name: str, column: Column, found: Mapping[str, int]) -> list[str]:
    """The values that a window of this size lacks by chance once in a thousand times at most."""
    whole, rows = sum(column.values.values()), sum(found.values())
    shares = {value: count / whole for value, count in column.values.items() if count and value not in found}
    gone = [value for value, share in shares.items() if rows and (1 - share) ** rows < _BY_CHANCE]
    gone = sorted(gone, key=lambda value: -shares[value])[:_MOST_VANISHED]
    return [f"{name} {value} does not occur: 0 of {rows:,}, {shares[value]:.0%} of the reference." for value in gone]
