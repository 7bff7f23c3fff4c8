"""How honest confidence is: whether answers given with 80 % are right in 80 of 100 cases."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

_BINS = 15
# A probability that float32 rounds to zero still has to have a logarithm.
_LEAST = 1e-38


@dataclass(frozen=True)
class ConfidenceBin:
    """
    The answers whose confidence lies from `lowest` up to `highest`.

    Attributes:
        confidence: their mean; None where there are none.
        accuracy: their share that is right; None where there are none.
    """

    lowest: float
    highest: float
    images: int
    confidence: float | None
    accuracy: float | None


def calibration_error(confidence: NDArray[np.float32], right: NDArray[np.bool_]) -> float:
    """
    Expected calibration error over 15 equally wide bins, 0..1; 0 is honest.

    confidence: probability of the answer, shape (N,).
    right: whether the answer was right, shape (N,).
    """
    images, confident, correct = _sums(confidence, right)
    return float(np.abs(confident - correct).sum() / max(1.0, images.sum()))


def confidence_bins(confidence: NDArray[np.float32], right: NDArray[np.bool_]) -> tuple[ConfidenceBin, ...]:
    """The 15 bins, from unsure to sure; shapes as in `calibration_error`."""
    edges = np.linspace(0, 1, _BINS + 1)
    return tuple(
        ConfidenceBin(
            lowest=float(edges[place]),
            highest=float(edges[place + 1]),
            images=int(count),
            confidence=float(confident / count) if count else None,
            accuracy=float(correct / count) if count else None,
        )
        for place, (count, confident, correct) in enumerate(zip(*_sums(confidence, right), strict=True))
    )


def at_temperature_one(probabilities: NDArray[np.float32], temperature: float) -> NDArray[np.float32]:
    """The probabilities (N, C) that the same logits give without a temperature."""
    # softmax(z / T) is proportional to exp(z)^(1/T): its logarithms times T are the logits, but for a constant.
    logits = np.log(np.maximum(probabilities.astype(np.float64), _LEAST)) * temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True), dtype=np.float32)


def _sums(
    confidence: NDArray[np.float32], right: NDArray[np.bool_]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """By bin: images, sum of confidence, number right."""
    bins = np.minimum((confidence.astype(np.float64) * _BINS).astype(np.int64), _BINS - 1)
    images = np.bincount(bins, minlength=_BINS).astype(np.float64)
    confident = np.bincount(bins, weights=confidence, minlength=_BINS).astype(np.float64)
    return images, confident, np.bincount(bins, weights=right, minlength=_BINS).astype(np.float64)
