"""The gate's comparisons: overall, per class, per subgroup and intersection; judged, watched or listed by size."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

from models import noninferiority
from models.gate_records import UNDECIDED, Answers, CheckRow, GateRules
from models.noninferiority import PairedCounts

_LEAST_WATCHED = 30
_WATCHED_LEVEL = 0.05
_WATCHED_MOST_LOSS = 0.10
_JUDGED_POWER, _PLANNED_POWER = 0.8, 0.9


@dataclass(frozen=True)
class Comparison:
    """Paired counts of one group of images, divided by their design `effect`; `margin` is what must be ruled out."""

    name: str
    scope: str
    group: str
    images: int
    counts: PairedCounts
    effect: float
    margin: float


def comparisons(
    candidate: Answers, champion: Answers, scope: str, subgroups: Sequence[str], rules: GateRules
) -> list[Comparison]:
    """Every comparison on one set of images, overall first; groups without images are left out."""
    everywhere = candidate.counts_for("")
    plain = (candidate, champion) if everywhere.all() else (candidate.only(everywhere), champion.only(everywhere))
    found = [_accuracy(candidate, champion, scope, "overall", everywhere, rules.overall_margin)]
    for index, label in enumerate(candidate.classes):
        of_class = (candidate.truth == index) & candidate.counts_for(f"class={label}")
        if of_class.any():
            found.append(_accuracy(candidate, champion, scope, f"class={label}", of_class, rules.class_margin))
            found += _false_positives(*plain, scope, index, rules.class_margin)
    for group, member in _subgroups(candidate, subgroups):
        rows = member & candidate.counts_for(group)
        if rows.any():
            found.append(_accuracy(candidate, champion, scope, group, rows, rules.class_margin))
    return found


def compare(compared: Sequence[Comparison], rules: GateRules, level: float) -> list[CheckRow]:
    """
    The outcome of each comparison.

    All judged ones must pass, so their number needs no correction; the watched ones share one level.
    """
    statuses = [_status(one, rules, level) for one in compared]
    watched = max(1, statuses.count("watched"))
    return [_row(one, status, watched, level) for one, status in zip(compared, statuses, strict=True)]


def _status(one: Comparison, rules: GateRules, level: float) -> str:
    if one.group == "overall" or one.group in rules.required_groups:
        return "judged"
    needed = noninferiority.images_needed(one.margin, one.counts.discordance, _JUDGED_POWER, level)
    if one.counts.images >= needed:
        return "judged"
    return "watched" if one.images >= _LEAST_WATCHED else "listed"


def _row(one: Comparison, status: str, watched: int, level: float) -> CheckRow:
    counts, needed = one.counts, None
    test_level = level if status == "judged" else _WATCHED_LEVEL / watched
    bound = noninferiority.upper_bound(counts, test_level)
    lower = noninferiority.lower_bound(counts, test_level)
    if status == "judged":
        if noninferiority.no_worse(counts, one.margin, level):
            result = "passed"
        elif lower > 0:
            result = "failed"
        else:
            result, needed = UNDECIDED, _needed(one, level)
    elif status == "watched":
        # A burst of one picture is no clear loss, however many frames it has.
        clear = counts.loss > _WATCHED_MOST_LOSS and counts.images >= _LEAST_WATCHED
        result = "failed" if lower > 0 or clear else "noted"
        needed = _needed(one, level) if result == "noted" else None
    else:
        result = "noted"
    return CheckRow(
        one.name, one.scope, one.group, one.images, counts.loss, bound, one.margin, status, result, needed,
        worth=round(counts.images),
    )  # fmt: skip


def _needed(one: Comparison, level: float) -> int:
    """Further images with which a candidate that truly loses what it was seen to lose would probably pass."""
    loss = min(max(0.0, one.counts.loss), 0.8 * one.margin)
    # With very few images the discordance seen says little; a tenth of the images is the cautious guess.
    seen = (one.counts.lost + one.counts.won + 1) / (one.counts.images + 10)
    images = noninferiority.images_needed(one.margin, seen, _PLANNED_POWER, level, loss)
    return max(1, round(images * one.effect) - one.images)


def _accuracy(
    candidate: Answers, champion: Answers, scope: str, group: str, member: NDArray[np.bool_], margin: float
) -> Comparison:
    name = "recall" if group.startswith("class=") else "accuracy"
    right = champion.right[member], candidate.right[member]
    return _comparison(name, scope, group, right, _groups(candidate, member), margin)


def _false_positives(
    candidate: Answers, champion: Answers, scope: str, index: int, class_margin: float
) -> list[Comparison]:
    """
    Precision, guarded by what has a fixed denominator: the images that are not of the class.

    The margin is scaled by the class's odds: so many more false positives cost a class with full recall as many
    points of precision as the margin of its recall.
    """
    others = candidate.truth != index
    if not others.any() or others.all():
        return []
    margin = class_margin * float((~others).sum()) / float(others.sum())
    # "Right" means here that the image was not taken for this class.
    right = champion.answer[others] != index, candidate.answer[others] != index
    group = f"class={candidate.classes[index]}"
    margin = min(margin, class_margin)
    return [_comparison("false positives", scope, group, right, _groups(candidate, others), margin)]


def _comparison(
    name: str,
    scope: str,
    group: str,
    right: tuple[NDArray[np.bool_], NDArray[np.bool_]],
    groups: list[str],
    margin: float,
) -> Comparison:
    counts, effect = noninferiority.paired_counts(*right, groups)
    return Comparison(name, scope, group, len(groups), counts, effect, margin)


def _groups(answers: Answers, member: NDArray[np.bool_]) -> list[str]:
    return [answers.groups[row] for row in np.flatnonzero(member)]


def _subgroups(answers: Answers, columns: Sequence[str]) -> list[tuple[str, NDArray[np.bool_]]]:
    """Each value of each column, then each pair of values of two columns; images without the column are left out."""
    values = {column: np.array([row.get(column, "") for row in answers.metadata], dtype=object) for column in columns}
    found = [
        (f"{column}={value}", values[column] == value)
        for column in columns
        for value in sorted(set(values[column]) - {""})
    ]
    for first, second in combinations(columns, 2):
        pairs = sorted({pair for pair in zip(values[first], values[second], strict=True) if all(pair)})
        for one, other in pairs:
            member = (values[first] == one) & (values[second] == other)
            found.append((f"{first}={one}, {second}={other}", member))
    return found
