"""What the network makes of the pictures: its features, in at most 32 principal components."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.stats import gamma

from monitoring.detectors import kolmogorov_smirnov
from monitoring.detectors.columns import Numbers
from monitoring.detectors.detection import Detection, Detector, holm
from monitoring.reference.profile import ReferenceProfile
from monitoring.watching.batch import Batch, Floats

FAMILY = "embedding"
# Of a profile and a batch: the features of the reference's plain rows and of the window's, as components of unit size.
FeaturesOf = Callable[[ReferenceProfile, Batch], tuple[Floats, Floats]]

_FREQUENCIES = 128
_ROWS_AT_ONCE = 8_192
_LEAST_REFERENCE = 20


@dataclass(frozen=True)
class _Kernel:
    """Difference of the mean random features, squared, and the law that it follows by chance alone."""

    squared: float
    expected: float
    p_value: float


def detect(profile: ReferenceProfile, batch: Batch) -> list[Detection]:
    """The features just before the model's own head."""
    return list(detector(FAMILY, principal_components)(profile, batch))


def detector(family: str, features_of: FeaturesOf) -> Detector:
    """
    A detector for one embedding; a second, frozen encoder is a second call of this.

    It says three things: the distance from the reference's centre, the principal components (the one that differs
    most), and the kernel distance (maximum mean discrepancy), which sees differences that no single component has.
    """

    def compare(profile: ReferenceProfile, batch: Batch) -> list[Detection]:
        reference, window = features_of(profile, batch)
        columns = columns_of(family, reference, window)
        if not columns[0].comparable:
            return []
        distance, *components = [kolmogorov_smirnov.compare([column])[0] for column in columns]
        most = min(components, key=lambda one: one.p_value)
        corrected = min(1.0, most.p_value * len(components))
        found = [
            distance,
            replace(most, name="principal components", p_value=corrected, reference=None, window=None),
        ]
        kernel = kernel_distance(reference, window)
        if kernel is not None:
            effect = float(np.sqrt(min(1.0, max(0.0, kernel.squared - kernel.expected) / 2)))
            found.append(Detection(family, "kernel distance", kernel.squared, effect, kernel.p_value, distance.places))
        p_values = holm([one.p_value for one in found])
        return [replace(one, p_value=p) for one, p in zip(found, p_values, strict=True)]

    return compare


def principal_components(profile: ReferenceProfile, batch: Batch) -> tuple[Floats, Floats]:
    """
    Of the model's own embedding, scaled to deviation 1 in the reference.

    Reference rows that the components were fitted on are NaN: they vary along them more than new rows ever will, and
    nine in ten clean windows would differ from them.
    """
    reference = profile.projection.apply(profile.plain.embedding)
    seen = np.ones(len(reference), dtype=bool) if profile.unseen is None else ~profile.unseen
    return np.where(seen[:, None], np.nan, reference), profile.projection.apply(batch.embedding)


def columns(profile: ReferenceProfile, batch: Batch) -> list[Numbers]:
    return columns_of(FAMILY, *principal_components(profile, batch))


def columns_of(family: str, reference: Floats, window: Floats) -> list[Numbers]:
    """The distance from the reference's centre, then each component."""
    components = (
        Numbers(family, f"component {place + 1}", reference[:, place], window[:, place])
        for place in range(reference.shape[1])
    )
    return [Numbers(family, "distance from the centre", _length(reference), _length(window)), *components]


def kernel_distance(reference: Floats, window: Floats) -> _Kernel | None:
    """
    The maximum mean discrepancy under a Gaussian kernel, by random Fourier features; None with too few rows.

    Under chance alone it is a weighted sum of squares, whose first two moments the reference's features give; a gamma
    law with these moments stands in for it. Source: Gretton et al., A Kernel Two-Sample Test, JMLR 2012, section 5;
    Rahimi & Recht, 2007, for the features.
    """
    reference, window = _finite(reference), _finite(window)
    if len(reference) < _LEAST_REFERENCE or not len(window):
        return None
    frequencies = _frequencies(reference)
    ours = np.concatenate(list(_features(reference, frequencies)))
    mean = np.zeros(2 * _FREQUENCIES)
    for part in _features(window, frequencies):
        mean += part.sum(axis=0, dtype=np.float64)
    difference = ours.mean(axis=0, dtype=np.float64) - mean / len(window)
    centred = (ours - ours.mean(axis=0)).astype(np.float64)
    covariance = centred.T @ centred / (len(ours) - 1)
    trace = float(np.trace(covariance))
    # The sum of squares of an estimated covariance is too large by about trace² / rows.
    squares = max(float((covariance**2).sum()) - trace**2 / len(ours), trace**2 / len(covariance))
    share = 1 / len(ours) + 1 / len(window)
    squared, expected, variance = float(difference @ difference), trace * share, 2 * squares * share**2
    if expected <= 0:
        return None
    return _Kernel(squared, expected, float(gamma.sf(squared, expected**2 / variance, scale=variance / expected)))


def _frequencies(reference: Floats) -> NDArray[np.float32]:
    """Of a kernel as wide as the median distance of two reference rows; the same for the same reference."""
    chance = np.random.default_rng(20_190_401)
    some = reference[np.linspace(0, len(reference) - 1, min(len(reference), 400)).round().astype(np.intp)]
    apart = np.sqrt(((some[: len(some) // 2, None] - some[None, len(some) // 2 :]) ** 2).sum(axis=2))
    width = float(np.median(apart)) or 1.0
    return chance.normal(0, 1 / width, (reference.shape[1], _FREQUENCIES)).astype(np.float32)


def _features(rows: Floats, frequencies: NDArray[np.float32]) -> Iterator[NDArray[np.float32]]:
    for start in range(0, len(rows), _ROWS_AT_ONCE):
        turned = rows[start : start + _ROWS_AT_ONCE].astype(np.float32) @ frequencies
        yield (np.hstack([np.cos(turned), np.sin(turned)]) / np.sqrt(_FREQUENCIES)).astype(np.float32)


def _length(rows: Floats) -> Floats:
    length: Floats = np.sqrt(np.einsum("ij,ij->i", rows, rows) / max(1, rows.shape[1]))
    return length


def _finite(rows: Floats) -> Floats:
    usable = np.isfinite(rows).all(axis=1)
    return rows if usable.all() else rows[usable]
