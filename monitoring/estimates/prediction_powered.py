"""The arithmetic of estimates that few labels correct: every label counts as often as it stands for predictions."""

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

from monitoring.estimates.asked import Asked, Expected
from monitoring.performance import Interval
from monitoring.watching.batch import Floats

_LEVEL = 0.975


def corrected_mean(asked: Asked, expected: Expected, weight: float) -> Interval:
    """
    Share of right answers among all predictions of a period, with its 95 % interval.

    Prediction-powered (Angelopoulos et al., Science 2023): what the confidences expect of everyone, and what the labels
    say the confidences got wrong. Each label is divided by the probability with which it was drawn (Hajek), so that
    asking about doubtful pictures more often does not make the model look worse. A weight of 0 leaves the labels alone.

    Args:
        asked: The period's requests; only usable ones count, of which there must be two.
        expected: Of all predictions of the period.
        weight: Of the confidences, 0..1, chosen on other periods.
    """
    used = asked.take(asked.usable)
    share = 1 / used.probability
    beyond = used.right - weight * used.expected
    correction = float((share * beyond).sum() / share.sum())
    middle = weight * expected.mean + correction if weight else correction
    sums = _sums(share * (beyond - correction), used.groups)
    groups = len(sums)
    variance = float((sums**2).sum()) / float(share.sum()) ** 2 * groups / max(1, groups - 1)
    error = float(np.sqrt(variance + (weight * expected.error) ** 2 if weight else variance))
    # Labels of very unequal weight say less than their number.
    effective = float(share.sum()) ** 2 / float((share**2).sum())
    half = float(stdtrit(max(1.0, min(effective, groups) - 1), _LEVEL)) * error
    return Interval(
        float(np.clip(middle, 0, 1)), float(np.clip(middle - half, 0, 1)), float(np.clip(middle + half, 0, 1))
    )


def best_weight(earlier: Asked) -> float:
    """
    The weight of the confidences that makes the variance least, 0..1 (Angelopoulos, Duchi and Zrnic 2023, PPI++).

    It must come from other labels than those it is then used on: weight and correction from the same few labels would
    flatter each other.
    """
    used = earlier.take(earlier.usable)
    if not len(used):
        return 0.0
    share = 1 / used.probability
    right = _sums(share * (used.right - _mean(used.right, share)), used.groups)
    expected = _sums(share * (used.expected - _mean(used.expected, share)), used.groups)
    spread = float((expected**2).sum())
    return float(np.clip((right * expected).sum() / spread, 0, 1)) if spread > 0 else 0.0


def _mean(values: Floats | NDArray[np.bool_], share: Floats) -> float:
    return float((share * values).sum() / share.sum())


def _sums(values: Floats, groups: NDArray[np.intp]) -> Floats:
    """By group; groups without a row are left out."""
    _, places = np.unique(groups, return_inverse=True)
    found: Floats = np.bincount(places, weights=values).astype(np.float64)
    return found
