"""The gate's floors: the least precision and recall that anybody may serve with."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import sqrt

import numpy as np

from models.gate_records import ALL, UNDECIDED, Answers, CheckRow, GateRules
from models.intervals import wilson

_LEAST_IMAGES = 50
# Of a class that nobody served before there is nothing to compare with: with fewer images nothing is known of it.
_LEAST_NEW = 10
_TWO_SIDED_95 = 1.959963984540054


def floor_checks(candidate: Answers, excuse: Answers | None, scope: str, rules: GateRules) -> list[CheckRow]:
    """
    Precision and recall, overall (mean over classes) and of every class with at least 50 images.

    A point estimate below the floor fails; an interval that reaches below is noted. `excuse` is the champion where
    being below the floor is forgiven to a candidate that is no worse than it.
    """
    checks = []
    for name, floor in (("precision", rules.min_precision), ("recall", rules.min_recall)):
        mine = _per_class(candidate, name)
        theirs = None if excuse is None else {one.label: one.share for one in _per_class(excuse, name)}
        checks.append(_overall(name, scope, mine, theirs, candidate.images, floor))
        for one in mine:
            if one.images >= _LEAST_IMAGES:
                other = None if theirs is None else theirs.get(one.label)
                lowest = wilson(one.right, one.of)[0] if one.of else 0.0
                checks.append(_row(name, scope, f"class={one.label}", one.images, one.share, lowest, floor, other))
    return checks


def new_class_checks(candidate: Answers, new: Sequence[str], rules: GateRules) -> list[CheckRow]:
    """
    Precision and recall of classes that the champion lacks, on images of every class.

    candidate: answers to old and recent images together, for what is new has come lately.
    """
    checks = []
    for name, floor in (("precision", rules.min_precision), ("recall", rules.min_recall)):
        found = {one.label: one for one in _per_class(candidate, name)}
        for label in new:
            one = found.get(label, _ClassShare(label, 0, 0, 0))
            lowest = wilson(one.right, one.of)[0] if one.of else 0.0
            row = _row(name, ALL, f"class={label}", one.images, one.share, lowest, floor, None)
            if one.images < _LEAST_NEW:
                row = replace(row, status="watched", result=UNDECIDED, needed=_LEAST_NEW - one.images)
            checks.append(row)
    return checks


@dataclass(frozen=True)
class _ClassShare:
    label: str
    right: int
    of: int
    images: int

    @property
    def share(self) -> float:
        """0 where a class was never answered: a precision nobody can vouch for."""
        return self.right / self.of if self.of else 0.0


def _per_class(answers: Answers, name: str) -> list[_ClassShare]:
    """Of each class with images: those right, out of those answered (precision) or those there are (recall)."""
    found = []
    for index, label in enumerate(answers.classes):
        images = int((answers.truth == index).sum())
        if images:
            right = int(((answers.truth == index) & (answers.answer == index)).sum())
            of = images if name == "recall" else int((answers.answer == index).sum())
            found.append(_ClassShare(label, right, of, images))
    return found


def _overall(
    name: str,
    scope: str,
    mine: list[_ClassShare],
    theirs: dict[str, float] | None,
    images: int,
    floor: float,
) -> CheckRow:
    mean = float(np.mean([one.share for one in mine]))
    # Classes are independent to first order: their variances add.
    variance = sum(one.share * (1 - one.share) / max(1, one.of) for one in mine)
    lowest = max(0.0, mean - _TWO_SIDED_95 * sqrt(variance) / len(mine))
    other = None if theirs is None else float(np.mean([theirs.get(one.label, 0.0) for one in mine]))
    return _row(name, scope, "overall", images, mean, lowest, floor, other)


def _row(
    name: str, scope: str, group: str, images: int, value: float, lowest: float, floor: float, other: float | None
) -> CheckRow:
    result = "passed"
    if value < floor:
        result = "noted" if other is not None and value >= other else "failed"
    elif lowest < floor:
        result = "noted"
    return CheckRow(f"{name} floor", scope, group, images, value, lowest, floor, "judged", result)
