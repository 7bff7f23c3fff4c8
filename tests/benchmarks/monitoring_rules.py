"""The rules that people use instead: fixed p-values, Evidently's defaults, and the streaming detectors of river."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from river import drift
from scipy import stats

from tests.benchmarks.monitoring_streams import Floats

# Evidently above 1,000 reference rows: Wasserstein distance in standard deviations; a dataset drifts with half its
# columns (evidently.legacy.calculations.stattests, DataDriftPreset).
_WASSERSTEIN_FROM, _SHARE_FROM = 0.1, 0.5

_Detector = Callable[[], Any]
_ON_BITS: Mapping[str, _Detector] = {
    "ADWIN": drift.ADWIN,
    "DDM": drift.binary.DDM,
    "EDDM": drift.binary.EDDM,
    "HDDMA": drift.binary.HDDMA,
    "Page-Hinkley": drift.PageHinkley,
    "KSWIN": lambda: drift.KSWIN(seed=1),
}
_ON_SCORES: Mapping[str, _Detector] = {"ADWIN": drift.ADWIN, "KSWIN": lambda: drift.KSWIN(seed=1)}

DAILY = ("any KS p < 0.05", "KS p < 0.05, Bonferroni", "Evidently any column", "Evidently half the columns")
STREAMING = tuple(f"{name} on scores" for name in _ON_SCORES)
ON_LABELS = tuple(_ON_BITS)


def days_to_alarm(scores: Floats, reference: Floats) -> dict[str, int | None]:
    """
    The first day on which each rule alarms; None where it never does.

    Args:
        scores: shape (days, per_day, signals).
        reference: shape (images, signals), more than 1,000 images.
    """
    found: dict[str, int | None] = dict.fromkeys((*DAILY, *STREAMING))
    ordered, spread = np.sort(reference, axis=0), reference.std(axis=0)
    for day, block in enumerate(scores):
        if all(found[name] is not None for name in DAILY):
            break
        distances, p_values = _compared(ordered, spread, block)
        said = (
            p_values.min() < 0.05,
            p_values.min() < 0.05 / len(p_values),
            (distances >= _WASSERSTEIN_FROM).any(),
            (distances >= _WASSERSTEIN_FROM).mean() >= _SHARE_FROM,
        )
        for name, alarms in zip(DAILY, said, strict=True):
            if alarms and found[name] is None:
                found[name] = day
    for (name, make), title in zip(_ON_SCORES.items(), STREAMING, strict=True):
        # A detector for each signal, and whichever speaks first.
        first = [_first(make(), scores[:, :, signal].reshape(-1)) for signal in range(_signals(scores, name))]
        heard = [place for place in first if place is not None]
        found[title] = min(heard) // scores.shape[1] if heard else None
    return found


def labels_to_alarm(errors: Floats, names: tuple[str, ...] = ON_LABELS) -> dict[str, int | None]:
    """The number of the label at which each streaming detector alarms, from 1; None where it never does."""
    places = {name: _first(_ON_BITS[name](), errors) for name in names}
    return {name: None if place is None else place + 1 for name, place in places.items()}


def _signals(scores: Floats, name: str) -> int:
    # KSWIN costs a test per picture, so it watches the one signal in which the change is: that flatters it.
    return 1 if name == "KSWIN" else scores.shape[2]


def _first(detector: Any, values: NDArray[np.float64]) -> int | None:
    for place, value in enumerate(values.tolist()):
        detector.update(value)
        if detector.drift_detected:
            return place
    return None


def _compared(ordered: Floats, spread: Floats, block: Floats) -> tuple[Floats, Floats]:
    pairs = range(block.shape[1])
    distances = [stats.wasserstein_distance(ordered[:, one], block[:, one]) / spread[one] for one in pairs]
    p_values = [stats.ks_2samp(ordered[:, one], block[:, one], method="asymp").pvalue for one in pairs]
    return np.array(distances), np.array(p_values)
