"""Predictions that people were asked about, with what they answered: what corrected estimates are made of."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitoring.estimates.scores import Flags
from monitoring.reference.coded import Coded
from monitoring.watching.batch import Floats


@dataclass(frozen=True)
class Asked:
    """
    One row for each request whose prediction is known; requests that are still waited for are not among them.

    Attributes:
        answered: Whether a label came; of the others somebody could not say, or it is overdue.
        right: Whether the answer was the model's; False where none came.
        expected: Calibrated probability that the model was right, 0..1; NaN where its confidence was not recorded.
        probability: With which the prediction was drawn in any way, 0..1.
        uniform: With which the audit sample alone draws it, 0..1.
        in_audit: Whether chance alone drew it.
        strata: Why it was drawn.
        groups: Rows of one number are one piece of evidence: a session's, or copies of one picture.
    """

    answered: Flags
    right: Flags
    expected: Floats
    probability: Floats
    uniform: Floats
    in_audit: Flags
    strata: Coded
    groups: NDArray[np.intp]

    def __len__(self) -> int:
        return len(self.answered)

    def take(self, rows: Flags) -> "Asked":
        """The rows of a part."""
        return Asked(
            self.answered[rows],
            self.right[rows],
            self.expected[rows],
            self.probability[rows],
            self.uniform[rows],
            self.in_audit[rows],
            self.strata.take(rows),
            self.groups[rows],
        )

    @property
    def usable(self) -> Flags:
        """Answered, with a probability that can stand below a fraction line and an expectation to compare with."""
        drawn = np.isfinite(self.probability) & (self.probability > 0) & (self.probability <= 1)
        known: Flags = self.answered & drawn & np.isfinite(self.expected)
        return known


@dataclass(frozen=True)
class Expected:
    """
    What the confidences of every prediction of a period expect.

    Attributes:
        predictions: All of them, asked about or not.
        mean: Of the calibrated probability of being right, 0..1.
        error: Standard error of that mean.
    """

    predictions: int
    mean: float
    error: float


def expected_of(probabilities: Floats) -> Expected:
    """Of the calibrated probabilities of a period; those not recorded are left out of the mean."""
    known = probabilities[np.isfinite(probabilities)]
    if not len(known):
        return Expected(len(probabilities), float("nan"), float("nan"))
    return Expected(len(probabilities), float(known.mean()), float(known.std() / np.sqrt(len(known))))
