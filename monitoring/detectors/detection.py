"""What a detector says: one difference between a window and the reference, its size, its chance, its rows."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitoring.reference.profile import ReferenceProfile
from monitoring.watching.batch import Batch, Floats

MOST_PLACES = 12


@dataclass(frozen=True)
class Detection:
    """
    One difference from the reference.

    Attributes:
        family: What kind of thing differs; detectors of one family share their chance of a false alarm.
        name: Of what was compared, in its family.
        statistic: Of the test.
        effect: 0 (the same) to 1 (nothing in common).
        p_value: Corrected for the other comparisons of its family (Holm); of one window, looked at once.
        places: Rows of the window that contributed most, at most twelve, the strongest first.
        reference, window: The means of a number; None for a category.
    """

    family: str
    name: str
    statistic: float
    effect: float
    p_value: float
    places: tuple[int, ...] = ()
    reference: float | None = None
    window: float | None = None


Detector = Callable[[ReferenceProfile, Batch], Iterable[Detection]]


def holm(p_values: Sequence[float]) -> list[float]:
    """Each p-value corrected for the company of the others (Holm 1979): valid however they depend on each other."""
    order = np.argsort(p_values, kind="stable")
    raised = np.asarray(p_values, dtype=np.float64)[order] * np.arange(len(p_values), 0, -1)
    corrected = np.empty(len(p_values))
    corrected[order] = np.minimum(1.0, np.maximum.accumulate(raised)) if len(p_values) else raised
    return [float(value) for value in corrected]


def highest_places(scores: Floats, among: NDArray[np.bool_] | None = None) -> tuple[int, ...]:
    """Rows with the highest scores, at most twelve; those that have none are left out."""
    usable = np.isfinite(scores) if among is None else np.isfinite(scores) & among
    known = np.flatnonzero(usable)
    if len(known) > MOST_PLACES:
        known = known[np.argpartition(-scores[known], MOST_PLACES)[:MOST_PLACES]]
    return tuple(int(place) for place in known[np.argsort(-scores[known], kind="stable")])
