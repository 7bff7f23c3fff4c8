"""How differently the model treats subgroups: sizes, rates, intervals, and what is too small to say anything."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from math import sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitoring.performance import (
    ClassPerformance,
    Interval,
    LabelledRows,
    intersections,
    members,
    per_class,
    share,
)

SHOWN_FROM, JUDGED_FROM = 30, 200
LEVEL = 0.05
HIDDEN, UNDECIDED, DIFFERS, ALIKE = "too few to show", "undecided", "differs", "no difference found"

_Z = 1.959963984540054


@dataclass(frozen=True)
class GroupBias:
    """
    One subgroup, or one intersection of two.

    Attributes:
        column: Metadata column, or "first x second".
        images: Labelled images; below 30 nothing else is given.
        verdict: "too few to show" (below 30), "undecided" (below 200), "differs" or "no difference found".
        accuracy: Wilson interval.
        precision, recall, false_positive_rate: Means over the classes, with intervals.
        difference: Accuracy minus that of all other images, with its interval; None where there are no others.
        p_value: Of no difference, corrected (Holm) for the number of judged groups; None where not judged.
        classes: Each class within the group.
    """

    column: str
    value: str
    images: int
    verdict: str
    accuracy: Interval | None = None
    precision: Interval | None = None
    recall: Interval | None = None
    false_positive_rate: Interval | None = None
    difference: Interval | None = None
    p_value: float | None = None
    classes: tuple[ClassPerformance, ...] = ()


@dataclass(frozen=True)
class BiasReport:
    """
    An audit of labelled answers.

    Attributes:
        title: What was audited, as a heading.
        images: Labelled images in all.
        overall: All of them as one group.
        without: Column to the number of images that do not say it, and so belong to none of its groups.
        groups: In the order of columns and values; intersections last.
    """

    title: str
    at: datetime
    model_version: int | None
    images: int
    overall: GroupBias
    without: Mapping[str, int]
    groups: tuple[GroupBias, ...]
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; times as ISO 8601."""
        return {**dataclasses.asdict(self), "at": self.at.isoformat()}


def bias_report(
    rows: LabelledRows, columns: Sequence[str], *, title: str, at: datetime, model_version: int | None = None
) -> BiasReport:
    """
    Every value of each column, and every pair of values of two columns.

    A group is shown from 30 labelled images and judged from 200; a smaller one is undecided, which is not a pass.
    """
    right = np.array([truth == answer for truth, answer in zip(rows.truth, rows.answered, strict=True)], dtype=bool)
    everything = np.ones(len(rows), dtype=bool)
    found = [(column, value, member) for column in columns for value, member in members(rows, column)]
    found += intersections(rows, columns)
    groups = [_group(rows, right, column, value, member) for column, value, member in found]
    return BiasReport(
        title=title,
        at=at,
        model_version=model_version,
        images=len(rows),
        overall=replace(_group(rows, right, "overall", "", everything), verdict=ALIKE if len(rows) else HIDDEN),
        without={column: sum(1 for row in rows.metadata if row.get(column, "") == "") for column in columns},
        groups=tuple(_holm(groups)),
        notes=tuple(_notes(rows, columns, groups)),
    )


def _group(
    rows: LabelledRows, right: NDArray[np.bool_], column: str, value: str, member: NDArray[np.bool_]
) -> GroupBias:
    images = int(member.sum())
    if images < SHOWN_FROM:
        return GroupBias(column, value, images, HIDDEN)
    places = np.flatnonzero(member)
    mine = LabelledRows(
        tuple(rows.truth[place] for place in places), tuple(rows.answered[place] for place in places), ()
    )
    classes = tuple(per_class(mine))
    count, others = int(right[member].sum()), int((~member).sum())
    rest = int(right[~member].sum())
    return GroupBias(
        column,
        value,
        images,
        UNDECIDED,
        accuracy=share(count, images),
        precision=_mean([(one.precision, one.answered) for one in classes if one.answered]),
        recall=_mean([(one.recall, one.images) for one in classes if one.images]),
        false_positive_rate=_mean([(one.false_positive_rate, images - one.images) for one in classes]),
        difference=_difference(count, images, rest, others) if others else None,
        p_value=_p_value(count, images, rest, others) if others and images >= JUDGED_FROM else None,
        classes=classes,
    )


def _mean(parts: Sequence[tuple[Interval, int]]) -> Interval:
    """The mean over classes; each class's variance as if two rights and two wrongs had been seen besides."""
    known = [(part.value, of) for part, of in parts if part.value is not None and of]
    if not known:
        return Interval(None, None, None)
    value = sum(share_ for share_, _ in known) / len(known)
    variance = 0.0
    for part, of in known:
        # Without the additions a class with no error would claim to be exact.
        adjusted = (part * of + _Z * _Z / 2) / (of + _Z * _Z)
        variance += adjusted * (1 - adjusted) / (of + _Z * _Z)
    spread = _Z * sqrt(variance) / len(known)
    return Interval(value, max(0.0, value - spread), min(1.0, value + spread))


def _difference(count: int, of: int, rest: int, others: int) -> Interval:
    """Difference of two proportions with Newcombe's interval, built from the two Wilson intervals."""
    first, second = share(count, of), share(rest, others)
    assert first.value is not None and first.low is not None and first.high is not None  # noqa: PT018 - for the types
    assert second.value is not None and second.low is not None and second.high is not None  # noqa: PT018
    difference = first.value - second.value
    low = difference - sqrt((first.value - first.low) ** 2 + (second.high - second.value) ** 2)
    high = difference + sqrt((first.high - first.value) ** 2 + (second.value - second.low) ** 2)
    return Interval(difference, low, high)


def _p_value(count: int, of: int, rest: int, others: int) -> float:
    """Fisher's exact test, two-sided: with few errors in a group the normal test calls too many groups different."""
    wrong, all_wrong = of - count, of + others - count - rest
    places = np.arange(max(0, all_wrong - others), min(of, all_wrong) + 1)
    logs = _log_choose(of, places) + _log_choose(others, all_wrong - places)
    chances = np.exp(logs - logs.max())
    observed = chances[wrong - places[0]]
    # Rounding must not part the observed table from those that are exactly as likely.
    return min(1.0, float(chances[chances <= observed * (1 + 1e-9)].sum() / chances.sum()))


def _log_choose(of: int, count: NDArray[np.int64]) -> NDArray[np.float64]:
    logs = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, of + 1)))])
    chosen: NDArray[np.float64] = logs[of] - logs[count] - logs[of - count]
    return chosen


def _holm(groups: Sequence[GroupBias]) -> list[GroupBias]:
    """Corrected p-values and verdicts of the judged groups; the others stay as they are."""
    judged = sorted(
        ((group.p_value, place) for place, group in enumerate(groups) if group.p_value is not None),
    )
    corrected, largest = list(groups), 0.0
    for rank, (p_value, place) in enumerate(judged):
        largest = max(largest, min(1.0, p_value * (len(judged) - rank)))
        verdict = DIFFERS if largest < LEVEL else ALIKE
        corrected[place] = replace(groups[place], p_value=largest, verdict=verdict)
    return corrected


def _notes(rows: LabelledRows, columns: Sequence[str], groups: Sequence[GroupBias]) -> list[str]:
    notes = []
    if not len(rows):
        notes.append("There are no labelled answers yet; send labels to /v1/feedback, then audit again.")
    if not columns:
        notes.append("No subgroup columns are named: set data.subgroups in kedge.toml.")
    said = {group.column for group in groups}
    notes += [f"No labelled answer says its {column}." for column in columns if column not in said]
    hidden = [group for group in groups if group.verdict == HIDDEN]
    if hidden:
        total = sum(group.images for group in hidden)
        notes.append(
            f"{len(hidden)} groups with fewer than {SHOWN_FROM} labelled images ({total} in all) are listed, not shown."
        )
    return notes
