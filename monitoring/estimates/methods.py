"""Ways to guess accuracy without labels, side by side."""

from dataclasses import dataclass

import numpy as np

from monitoring.estimates.calibrator import calibrator
from monitoring.estimates.scores import Flags, ReferenceScores, Scores
from monitoring.watching.batch import Floats


@dataclass(frozen=True)
class Methods:
    """
    Accuracy as each method guesses it, 0..1.

    Attributes:
        atc_entropy: Average thresholded confidence with negative entropy (Garg et al., ICLR 2022).
        atc_confidence: The same with the largest probability.
        confidence_based: Mean calibrated probability of being right, as NannyML's CBPE for the top class.
        difference_of_confidences: Reference accuracy less the fall in mean confidence (Guillory et al., ICCV 2021).
        average_confidence: The mean confidence itself.
    """

    atc_entropy: float
    atc_confidence: float
    confidence_based: float
    difference_of_confidences: float
    average_confidence: float

    @property
    def published(self) -> float:
        """What is told: the middle of the two methods whose disagreement is watched."""
        return (self.atc_entropy + self.confidence_based) / 2

    @property
    def disagreement(self) -> float:
        return abs(self.atc_entropy - self.confidence_based)


def methods(reference: ReferenceScores, window: Scores) -> Methods:
    """Every method's guess at the accuracy of a window; both sides must have at least one row."""
    confidence = float(window.confidence.mean())
    known, right = reference.scores, reference.right
    return Methods(
        atc_entropy=share_above(window.certainty, threshold(known.certainty, right)),
        atc_confidence=share_above(window.confidence, threshold(known.confidence, right)),
        confidence_based=float(calibrator(reference).right(window.confidence).mean()),
        difference_of_confidences=float(
            np.clip(reference.accuracy - (float(known.confidence.mean()) - confidence), 0, 1)
        ),
        average_confidence=confidence,
    )


def threshold(scores: Floats, right: Flags) -> float:
    """The score that as many held-out answers reach as were right."""
    return float(np.quantile(scores, 1 - right.mean()))


def share_above(scores: Floats, limit: float) -> float:
    """Share of answers that reach the threshold, 0..1."""
    return float((scores >= limit).mean())
