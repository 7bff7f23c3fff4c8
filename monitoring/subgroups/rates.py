"""Rates from counts of a confusion table: of one group, or of thousands of redrawn ones at once."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitoring.quality.labelled import Codes, Floats

ACCURACY, RECALL, PRECISION = "accuracy", "recall", "precision"
FALSE_POSITIVES, SELECTION, CALIBRATION = "false-positive rate", "selection rate", "calibration"

LEAST_OF_CLASS = 5


@dataclass(frozen=True)
class Counts:
    """
    Margins of B confusion tables over K classes, each shape (B, K).

    Attributes:
        right: Images of the class that were called so.
        truth: Images of the class.
        answered: Images that were called so.
    """

    right: Floats
    truth: Floats
    answered: Floats

    @property
    def images(self) -> Floats:
        """(B, 1): all images of each table."""
        total: Floats = self.truth.sum(axis=1, keepdims=True)
        return total

    def __add__(self, other: "Counts") -> "Counts":
        return Counts(self.right + other.right, self.truth + other.truth, self.answered + other.answered)

    def __sub__(self, other: "Counts") -> "Counts":
        return Counts(self.right - other.right, self.truth - other.truth, self.answered - other.answered)


def counts_of(cells: Codes, classes: int) -> Counts:
    """One table, B = 1, of rows given as (true class, answered class)."""
    truth, answered = cells[:, 0], cells[:, 1]
    parts = (truth[truth == answered], truth, answered)
    return Counts(*(np.bincount(part, minlength=classes).astype(float)[None] for part in parts))


def per_class(counts: Counts, metric: str) -> Floats:
    """(B, K): a rate of each class; NaN where it has no denominator."""
    numerator, denominator = {
        RECALL: (counts.right, counts.truth),
        PRECISION: (counts.right, counts.answered),
        FALSE_POSITIVES: (counts.answered - counts.right, counts.images - counts.truth),
        SELECTION: (counts.answered, np.broadcast_to(counts.images, counts.answered.shape)),
    }[metric]
    return _ratio(numerator, denominator)


def overall(counts: Counts, metric: str, among: NDArray[np.bool_]) -> Floats:
    """(B,): accuracy, or the mean of a rate over the classes marked in `among` (K,); NaN where there is none."""
    if metric == ACCURACY:
        images = counts.images[:, 0]
        return _ratio(counts.right.sum(axis=1), images)
    rates = per_class(counts, metric)[:, among]
    known = np.isfinite(rates)
    number = known.sum(axis=1)
    total = np.where(known, rates, 0.0).sum(axis=1)
    return _ratio(total, number.astype(float))


def counted_classes(group: Counts, rest: Counts, metric: str) -> NDArray[np.bool_]:
    """
    (K,): the classes over which a rate is averaged: those with at least five images below its line on both sides.

    A class seen once would otherwise weigh as much as one seen a hundred times, and a mean over other classes in the
    group than in the rest would compare nothing.
    """
    if metric == ACCURACY:
        return np.ones(group.truth.shape[1], dtype=bool)
    found = []
    for counts in (group, rest):
        below = {RECALL: counts.truth, PRECISION: counts.answered, SELECTION: counts.truth + counts.answered}
        found.append(below.get(metric, counts.images - counts.truth)[0] >= LEAST_OF_CLASS)
    both: NDArray[np.bool_] = found[0] & found[1]
    return both


def _ratio(numerator: Floats, denominator: Floats) -> Floats:
    found: Floats = np.divide(numerator, denominator, out=np.full(numerator.shape, np.nan), where=denominator > 0)
    return found
