"""How right the answers were by the labels that chance alone drew: Wilson's interval, on as many as they are worth."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.intervals import wilson
from monitoring.estimates.asked import Asked
from monitoring.performance import Interval
from monitoring.watching.batch import Floats


@dataclass(frozen=True)
class Uniform:
    """
    Labels drawn by chance alone.

    Attributes:
        labels: How many.
        worth: As how many labels of pictures unlike each other they count.
        accuracy: With its 95 % interval, 0..1.
    """

    labels: int
    worth: float
    accuracy: Interval


def uniform(asked: Asked) -> Uniform:
    """
    Share of right answers among all predictions, from the answered requests of the audit sample.

    Each label is divided by the probability with which the audit drew it, for a plan of a quiet hour draws more than
    one of a busy hour. The interval is Wilson's, for as many labels as these are worth: unequal weights cost some
    (Kish 1965), and labels of one session or copies of one picture are no evidence apart (the design effect of the
    gate). Where all answers are alike nothing can be seen of that, and each group counts once.
    """
    drawn = np.isfinite(asked.uniform) & (asked.uniform > 0) & (asked.uniform <= 1)
    used = asked.take(asked.answered & asked.in_audit & drawn)
    if not len(used):
        return Uniform(0, 0.0, Interval(None, None, None))
    weight = 1 / used.uniform
    middle = float(np.clip((weight * used.right).sum() / weight.sum(), 0, 1))
    beyond = weight * (used.right - middle)
    alone, together = (_spread(beyond, groups) for groups in (np.arange(len(used)), used.groups))
    worth = _worth(weight) / max(1.0, together / alone) if alone > 0 else _worth(_sums(weight, used.groups))
    return Uniform(len(used), worth, Interval(middle, *wilson(middle * worth, worth)))


def _worth(weights: Floats) -> float:
    return float(weights.sum() ** 2 / np.square(weights).sum())


def _spread(beyond: Floats, groups: NDArray[np.intp]) -> float:
    """Square sum over groups, for the one degree of freedom that the mean took; of a single group it is unbounded."""
    sums = _sums(beyond, groups)
    if len(sums) == 1:
        return float(np.square(beyond).sum()) * len(beyond)
    return float(np.square(sums).sum()) * len(sums) / (len(sums) - 1)


def _sums(values: Floats, groups: NDArray[np.intp]) -> Floats:
    _, places = np.unique(groups, return_inverse=True)
    found: Floats = np.bincount(places, weights=values).astype(np.float64)
    return found
