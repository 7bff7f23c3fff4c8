"""ADWIN beside the labelled-harm lane: where another method would have cut the labels in two; drawn, never deciding."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from river.drift import ADWIN
from scipy.special import xlogy

DELTA = 0.002
# One pass over this many labels takes a tenth of a second; older ones would only be forgotten.
_MOST_LABELS = 20_000


@dataclass(frozen=True)
class Cut:
    """
    A place in the order of labels.

    Attributes:
        noticed: Place of the label at which it was noticed, from 0.
        began: Place of the first label after the change, where the labels up to then are likeliest to part in two.
        error_before, error_after: Shares of wrong answers on both sides, since the cut before this one was noticed and
            up to where this one was.
    """

    noticed: int
    began: int
    error_before: float
    error_after: float

    @property
    def worse(self) -> bool:
        return self.error_after > self.error_before


def cuts(wrong: NDArray[np.bool_], delta: float = DELTA) -> tuple[Cut, ...]:
    """
    Where adaptive windowing (Bifet and Gavaldà, SDM 2007) drops what is old, in the order in which labels came.

    Its bound holds for one look at independent errors; there is no budget shared with other detectors, and no
    tolerance. So it is a second opinion, for better and for worse changes.

    Args:
        wrong: Whether each labelled answer was wrong, shape (N,); the newest 20,000 are looked at.
        delta: Of ADWIN: smaller cuts less.
    """
    first = max(0, len(wrong) - _MOST_LABELS)
    window: Any = ADWIN(delta=delta)  # type: ignore[no-untyped-call]  # the library has no types
    found: list[Cut] = []
    start = first
    for place, error in enumerate(wrong[first:].tolist(), start=first):
        window.update(float(error))
        if window.drift_detected:
            began = start + _likeliest_split(wrong[start : place + 1])
            found.append(Cut(place, began, float(wrong[start:began].mean()), float(wrong[began : place + 1].mean())))
            # The library begins anew after each cut, with nothing of the stretch before it.
            start = place + 1
    return tuple(found)


def _likeliest_split(wrong: NDArray[np.bool_]) -> int:
    """Where a stretch of at least two parts into two error rates with the largest likelihood."""
    before = np.arange(1, len(wrong))
    errors = np.cumsum(wrong, dtype=np.intp)[:-1]
    likelihood = _log_likelihood(errors, before) + _log_likelihood(int(wrong.sum()) - errors, len(wrong) - before)
    return int(likelihood.argmax()) + 1


def _log_likelihood(errors: NDArray[np.intp], labels: NDArray[np.intp]) -> NDArray[np.float64]:
    """Of so many errors at their own rate."""
    found: NDArray[np.float64] = xlogy(errors, errors / labels) + xlogy(labels - errors, 1 - errors / labels)
    return found
