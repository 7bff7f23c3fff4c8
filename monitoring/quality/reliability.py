"""Whether confidence keeps its word: answers given with 80 % should be right in 80 of 100 cases."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitoring.performance import Interval, share

_BINS, _LEAST_OF_BIN = 15, 20
_DRAWS = 1_000
_SEED = 0


@dataclass(frozen=True)
class ReliabilityBin:
    """Answers of neighbouring confidence; `right` is the share that was right, with Wilson's interval."""

    lowest: float
    highest: float
    answers: int
    confidence: float
    right: Interval


@dataclass(frozen=True)
class Reliability:
    """
    Of labelled answers whose confidence was recorded.

    Attributes:
        answers: How many; `left_out` had no usable confidence.
        error: Expected calibration error with its 95 % bootstrap interval, 0..1; None without answers.
        honest: The error that perfectly honest confidences would show by chance alone with as many labels.
        bins: Of about equal size, from unsure to sure.
    """

    answers: int
    left_out: int
    error: Interval
    honest: float | None
    bins: tuple[ReliabilityBin, ...]


def reliability(confidence: NDArray[Any], right: NDArray[np.bool_]) -> Reliability:
    """
    Calibration over bins of equal size (Nguyen and O'Connor 2015), at most 15 and each of at least 20 answers.

    Answers are drawn anew within their bins; as the error of few answers is always too large, and that of the draws
    more so, the interval is the one that turns the draws around the estimate (the basic bootstrap); it begins at 0
    unless the error is larger than honest confidences show in 39 of 40 draws.
    """
    known = np.isfinite(confidence) & (confidence >= 0) & (confidence <= 1)
    order = np.argsort(confidence[known], kind="stable")
    sure, hits = confidence[known].astype(np.float64)[order], right[known][order]
    if not len(sure):
        return Reliability(0, len(known), Interval(None, None, None), None, ())
    starts = _starts(sure)
    sizes = np.diff([*starts, len(sure)])
    told, correct = np.add.reduceat(sure, starts) / sizes, np.add.reduceat(hits.astype(np.int64), starts)
    error = float((sizes * np.abs(told - correct / sizes)).sum() / len(sure))
    chance = np.random.default_rng(_SEED)
    drawn = _errors(sizes, told, chance.binomial(sizes, correct / sizes, (_DRAWS, len(sizes))))
    honest = _errors(sizes, told, chance.binomial(sizes, np.clip(told, 0, 1), (_DRAWS, len(sizes))))
    low, high = (float(end) for end in np.quantile(drawn, (0.025, 0.975)))
    # An error that honest confidences would show by luck is no evidence of any: there the draws know no zero.
    surely = error > float(np.quantile(honest, 0.975))
    least = max(0.0, min(error, 2 * error - high)) if surely else 0.0
    return Reliability(
        answers=len(sure),
        left_out=int((~known).sum()),
        error=Interval(error, least, min(1.0, max(error, 2 * error - low))),
        honest=float(honest.mean()),
        bins=tuple(
            ReliabilityBin(float(sure[start]), float(sure[start + size - 1]), size, float(mean), share(hit, size))
            for start, size, mean, hit in zip(starts.tolist(), sizes.tolist(), told, correct.tolist(), strict=True)
        ),
    )


def _errors(sizes: NDArray[np.int64], told: NDArray[np.float64], hits: NDArray[np.int64]) -> NDArray[np.float64]:
    """Calibration error of each draw; hits (draws, bins)."""
    found: NDArray[np.float64] = (sizes * np.abs(told - hits / sizes)).sum(axis=1) / sizes.sum()
    return found


def _starts(ascending: NDArray[np.float64]) -> NDArray[np.intp]:
    """Where bins of equal size begin; equal confidences share a bin."""
    bins = int(np.clip(len(ascending) // _LEAST_OF_BIN, 1, _BINS))
    wanted = np.linspace(0, len(ascending), bins, endpoint=False).astype(np.intp)
    return np.unique(np.searchsorted(ascending, ascending[wanted], side="left"))
