"""A subgroup's rates beside those of the rest: differences and ratios with their intervals."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitoring.performance import Interval
from monitoring.quality.labelled import Floats, LabelledAnswers
from monitoring.subgroups.bootstrap import interval, ratio_interval
from monitoring.subgroups.rates import (
    ACCURACY,
    CALIBRATION,
    FALSE_POSITIVES,
    PRECISION,
    RECALL,
    SELECTION,
    Counts,
    counted_classes,
    overall,
    per_class,
)

# How often a class is answered follows from how often it occurs: described, never judged.
JUDGED = (ACCURACY, RECALL, PRECISION, FALSE_POSITIVES, CALIBRATION)

_NOTHING = Interval(None, None, None)
_TWO_SIDED_95 = 1.959963984540054

Pair = tuple[Counts, Counts]  # observed, drawn


@dataclass(frozen=True)
class Difference:
    """
    One rate of a group, and how it differs from the rest's.

    Attributes:
        metric: "accuracy", "recall", "precision", "false-positive rate", "selection rate", or "calibration": mean
            confidence minus accuracy, so that above zero is overconfident.
        label: The class; "" for accuracy, calibration and means over the classes.
        counted: Images of the group below the rate's line.
        value: In the group, with its 95 % interval.
        difference: Group minus rest.
        ratio: Group over rest.
        p_value: Of no difference, corrected for all that is judged; None where it is only described.
        repeats: With two classes the mean false-positive rate is one minus the mean recall: the same question.
    """

    metric: str
    label: str
    counted: int
    value: Interval
    difference: Interval
    ratio: Interval
    p_value: float | None = None
    repeats: bool = False

    @property
    def name(self) -> str:
        """As "recall of owl", or "accuracy"."""
        return f"{self.metric} of {self.label}" if self.label else self.metric

    def words(self) -> str:
        """As "recall of owl 12.0 points lower than elsewhere (p 0.002)"."""
        points = 100 * (self.difference.value or 0.0)
        way = "lower" if points < 0 else "higher"
        sure = "" if self.p_value is None else f" (p {'< 0.001' if self.p_value < 1e-3 else f'{self.p_value:.3f}'})"  # noqa: PLR2004 - printed beside it
        name = "overconfidence" if self.metric == CALIBRATION else self.name
        return f"{name} {abs(points):.1f} points {way} than elsewhere{sure}"


def mean_differences(
    rows: LabelledAnswers, inside: NDArray[np.bool_], outside: NDArray[np.bool_], group: Pair, rest: Pair
) -> tuple[Difference, ...]:
    """Accuracy, the means of recall, precision and false positives over the classes, and calibration."""
    alone = not outside.any()
    two = len(rows.labels) == 2  # noqa: PLR2004 - see Difference.repeats
    found = []
    for metric in (ACCURACY, RECALL, PRECISION, FALSE_POSITIVES):
        among = counted_classes(group[0], group[0] if alone else rest[0], metric)
        mine, theirs = ([overall(counts, metric, among) for counts in pair] for pair in (group, rest))
        one = _difference(metric, "", int(inside.sum()), (mine[0], mine[1]), None if alone else (theirs[0], theirs[1]))
        found.append(Difference(**{**vars(one), "repeats": two and metric == FALSE_POSITIVES and bool(among.all())}))
    return (*found, _calibration(rows, inside, outside))


def class_differences(rows: LabelledAnswers, group: Pair, rest: Pair) -> tuple[Difference, ...]:
    """Recall, precision, false positives and selection of each class that was true or answered in the group."""
    alone = not rest[0].truth.any()
    found = []
    for metric in (RECALL, PRECISION, FALSE_POSITIVES, SELECTION):
        mine, theirs = ([per_class(counts, metric) for counts in pair] for pair in (group, rest))
        below = {
            RECALL: group[0].truth,
            PRECISION: group[0].answered,
            SELECTION: np.broadcast_to(group[0].images, group[0].truth.shape),
        }.get(metric, group[0].images - group[0].truth)[0]
        for place, label in enumerate(rows.labels):
            if below[place] and (group[0].truth[0, place] or group[0].answered[0, place]):
                others = None if alone else (theirs[0][:, place], theirs[1][:, place])
                here = (mine[0][:, place], mine[1][:, place])
                found.append(_difference(metric, label, int(below[place]), here, others))
    return tuple(found)


def _difference(
    metric: str, label: str, counted: int, mine: tuple[Floats, Floats], rest: tuple[Floats, Floats] | None
) -> Difference:
    value = float(mine[0][0])
    shown = interval(value, mine[1], 0.0, 1.0)
    if rest is None or not np.isfinite(rest[0][0]):
        return Difference(metric, label, counted, shown, _NOTHING, _NOTHING)
    beside = float(rest[0][0])
    with np.errstate(divide="ignore", invalid="ignore"):
        ratios = np.divide(mine[1], rest[1])
    return Difference(
        metric,
        label,
        counted,
        shown,
        interval(value - beside, mine[1] - rest[1]),
        ratio_interval(value / beside if beside > 0 else float("nan"), ratios),
    )


def _calibration(rows: LabelledAnswers, inside: NDArray[np.bool_], outside: NDArray[np.bool_]) -> Difference:
    """Mean confidence minus accuracy; its interval by the spread between units."""
    gap = rows.confidence - rows.right
    sides = [_mean_and_error(gap[side], rows.units[side]) for side in (inside, outside)]
    (value, error), (beside, other) = sides
    if not np.isfinite(value):
        return Difference(CALIBRATION, "", 0, _NOTHING, _NOTHING, _NOTHING)
    between = _NOTHING if not np.isfinite(beside) else _normal(value - beside, float(np.hypot(error, other)))
    counted = int(np.isfinite(gap[inside]).sum())
    return Difference(CALIBRATION, "", counted, _normal(value, error), between, _NOTHING)


def _mean_and_error(gap: Floats, units: Sequence[int] | NDArray[np.intp]) -> tuple[float, float]:
    known = np.isfinite(gap)
    if not known.any():
        return float("nan"), float("nan")
    mean, number = float(gap[known].mean()), int(known.sum())
    _, unit = np.unique(np.asarray(units)[known], return_inverse=True)
    square = float(np.square(np.bincount(unit, weights=gap[known] - mean)).sum())
    # One right and one wrong answer besides: a group without an error is not exact.
    return mean, float(np.sqrt(square + 0.5)) / (number + 2)


def _normal(value: float, error: float) -> Interval:
    return Interval(value, max(-1.0, value - _TWO_SIDED_95 * error), min(1.0, value + _TWO_SIDED_95 * error))
