"""From confidence to the probability of being right, learnt from held-out answers."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import isotonic_regression

from monitoring.estimates.scores import ReferenceScores
from monitoring.watching.batch import Floats


@dataclass(frozen=True)
class Calibrator:
    """
    A line that never falls, through pairs of confidence and share right; level beyond its ends.

    Attributes:
        confidence: ascending, shape (M,).
        share: shape (M,), 0..1.
    """

    confidence: Floats
    share: Floats

    def right(self, confidence: NDArray[Any]) -> Floats:
        """Probability of being right, of each answer; shape as given."""
        return np.interp(np.asarray(confidence, dtype=np.float64), self.confidence, self.share)


def calibrator(reference: ReferenceScores) -> Calibrator:
    """
    Isotonic regression of right answers on confidence (Zadrozny and Elkan, KDD 2002), as CBPE has it for the top class.

    It is fitted to images that are not in any window, so nothing of a window's own answers is in it.
    """
    order = np.argsort(reference.scores.confidence, kind="stable")
    share = isotonic_regression(reference.right[order].astype(np.float64)).x
    return Calibrator(reference.scores.confidence[order], np.asarray(share, dtype=np.float64))


def redrawn_calibrators(reference: ReferenceScores, draws: NDArray[np.intp]) -> Iterator[Calibrator]:
    """The same from resampled references; `draws` counts how often each row was drawn, shape (draws, n)."""
    order = np.argsort(reference.scores.confidence, kind="stable")
    confidence, right = reference.scores.confidence[order], reference.right[order].astype(np.float64)
    for counts in draws:
        weights = counts[order]
        kept = weights > 0
        fitted = isotonic_regression(right[kept], weights=weights[kept].astype(np.float64)).x
        yield Calibrator(confidence[kept], fitted)
