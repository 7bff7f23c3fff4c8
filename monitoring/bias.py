"""How differently the model treats subgroups: rates, differences with intervals, and what is too small to judge."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitoring.quality.labelled import LabelledAnswers
from monitoring.short_names import short
from monitoring.subgroups.bootstrap import RESAMPLES, Resampled, resampled
from monitoring.subgroups.columns import CROSS, SHOWN_FROM, Division, divided
from monitoring.subgroups.differences import JUDGED, Difference, class_differences, mean_differences
from monitoring.subgroups.permutation_tests import holm, metric_p_value
from monitoring.subgroups.rates import CALIBRATION, RECALL, SELECTION, Counts, counted_classes

JUDGED_FROM, JUDGED_FROM_UNITS = 200, 30
LEVEL, FOUR_FIFTHS = 0.05, 0.8
HIDDEN, UNDECIDED, DIFFERS, ALIKE = "too few to show", "undecided", "differs", "no difference found"

# The rates of each group, and the recall of each class within it, share the level: 4 % and 1 %.
_BUDGET_OF_RATES = 0.8

Mask = NDArray[np.bool_]


@dataclass(frozen=True)
class GroupBias:
    """
    One subgroup, or one intersection of two, beside all others that say the same column.

    Attributes:
        column: Metadata column, or "first x second".
        images: Labelled images; below 30 nothing else is given.
        units: Sessions or different pictures among them: copies of one picture are one piece of evidence.
        verdict: "too few to show" (below 30), "undecided" (below 200), "differs" or "no difference found".
        why: Of the verdict, in words.
        more_labels: How many more labels it needs to be judged; 0 where it is.
        rates: Accuracy, and means over the classes.
        classes: Precision, recall, false positives and selection of each class.
    """

    column: str
    value: str
    images: int
    units: int
    verdict: str
    why: str = ""
    more_labels: int = 0
    rates: tuple[Difference, ...] = ()
    classes: tuple[Difference, ...] = ()

    @property
    def name(self) -> str:
        """As "camera = A"; "overall" for all together."""
        return f"{self.column} = {self.value}" if self.value else self.column

    @property
    def short(self) -> str:
        """The name in at most 60 characters: a value is whatever a caller sent."""
        return short(self.name)

    @property
    def is_intersection(self) -> bool:
        """Whether two columns are crossed in it."""
        return CROSS in self.column

    def rate(self, metric: str) -> Difference | None:
        """Accuracy or a mean over the classes, by its name; None where it is not shown."""
        return next((one for one in self.rates if one.metric == metric), None)

    @property
    def different(self) -> tuple[Difference, ...]:
        """What differs beyond chance, the surest first."""
        found = [one for one in (*self.rates, *self.classes) if one.p_value is not None and one.p_value < LEVEL]
        return tuple(sorted(found, key=lambda one: (one.p_value, -abs(one.difference.value or 0.0))))

    @property
    def below_four_fifths(self) -> tuple[Difference, ...]:
        """Recalls and selection rates below four fifths of the rest's: a description with an interval, no verdict."""
        found = [one for one in (*self.rates, *self.classes) if one.metric in {RECALL, SELECTION}]
        return tuple(one for one in found if one.ratio.value is not None and one.ratio.value < FOUR_FIFTHS)


@dataclass(frozen=True)
class BiasReport:
    """
    An audit of labelled answers.

    Attributes:
        title: What was audited, as a heading.
        images: Labelled images in all.
        overall: All of them as one group.
        groups: In the order of columns and values; intersections last.
        tests: How many differences were judged, and share the level of 5 %.
        resamples: Tables that were drawn for each interval.
        notes: What was left out or cannot be said, and why.
    """

    title: str
    at: datetime
    model_version: int | None
    images: int
    overall: GroupBias
    groups: tuple[GroupBias, ...]
    tests: int
    resamples: int
    notes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """Plain JSON; times as ISO 8601."""
        said = [
            {**dataclasses.asdict(group), "below_four_fifths": [one.name for one in group.below_four_fifths]}
            for group in self.groups
        ]
        return {**dataclasses.asdict(self), "groups": said, "at": self.at.isoformat()}


def bias_report(
    rows: LabelledAnswers,
    columns: Sequence[str],
    *,
    title: str,
    at: datetime,
    model_version: int | None = None,
    resamples: int = RESAMPLES,
) -> BiasReport:
    """
    Every value of each column, and every pair of values of two columns.

    A group is shown from 30 labelled images and judged from 200, against all others that say the column; a smaller
    one is undecided, which is not a pass. The chance that any group is called different where none is, is 5 %: Holm's
    correction over all groups and rates.
    """
    found = divided(rows, columns)
    groups: list[GroupBias] = []
    twins: dict[int, int] = {}
    for division in found.divisions:
        drawn = resampled(rows, division, resamples)
        resamples = min(resamples, drawn.resamples)
        if len(division.values) == 2:  # noqa: PLR2004 - of two parts each is the other's rest: one question, not two
            twins[len(groups) + 1] = len(groups)
        groups += [_group(rows, division, number, drawn) for number in range(len(division.values))]
    judged = _judged(groups, twins)
    return BiasReport(
        title=title,
        at=at,
        model_version=model_version,
        images=len(rows),
        overall=_overall(rows, resamples),
        groups=tuple(_verdict(group) for group in judged),
        tests=sum(one.p_value is not None for group in judged for one in (*group.rates, *group.classes)),
        resamples=resamples,
        notes=(*_notes(rows, columns), *found.notes, *_silent(rows, found.divisions)),
    )


def _group(rows: LabelledAnswers, division: Division, number: int, drawn: Resampled) -> GroupBias:
    inside = division.part == number
    outside = (division.part >= 0) & ~inside
    images, units = int(inside.sum()), rows.count_units(inside)
    group = GroupBias(division.column, division.values[number], images, units, HIDDEN)
    if images < SHOWN_FROM:
        return replace(group, more_labels=JUDGED_FROM - images)
    rest = drawn.rest(number)
    rates = mean_differences(rows, inside, outside, (drawn.observed[number], drawn.drawn[number]), rest)
    classes = class_differences(rows, (drawn.observed[number], drawn.drawn[number]), rest)
    group = replace(group, verdict=UNDECIDED, rates=rates, classes=classes, **_lacking(images, units, outside, rows))
    if group.why:
        return group
    return _tested(rows, group, inside, outside, drawn.observed[number], rest[0])


def _lacking(images: int, units: int, outside: Mask, rows: LabelledAnswers) -> dict[str, Any]:
    """Why a group cannot be judged yet; empty words where it can."""
    others, other_units = int(outside.sum()), rows.count_units(outside)
    if not others:
        return {"why": "every image that says its column is of this value: there is no rest to compare with"}
    if images < JUDGED_FROM:
        return {"why": f"{images} of {JUDGED_FROM} labelled images", "more_labels": JUDGED_FROM - images}
    if others < JUDGED_FROM:
        why = f"its rest has {others} of {JUDGED_FROM} labelled images"
        return {"why": why, "more_labels": JUDGED_FROM - others}
    fewest = min(units, other_units)
    if fewest < JUDGED_FROM_UNITS:
        whose = "it has" if units <= other_units else "its rest has"
        why = f"{whose} {fewest} of {JUDGED_FROM_UNITS} different sessions or pictures; their copies count once"
        return {"why": why, "more_labels": JUDGED_FROM_UNITS - fewest}
    return {"why": ""}


def _tested(
    rows: LabelledAnswers, group: GroupBias, inside: Mask, outside: Mask, mine: Counts, rest: Counts
) -> GroupBias:
    """The group with the p-value of each of its differences, not yet corrected."""
    rates = []
    for one in group.rates:
        if one.metric not in JUDGED or (one.repeats and one.metric not in {RECALL, CALIBRATION}):
            rates.append(one)
            continue
        everything = np.ones(len(rows.labels), dtype=bool)
        among = everything if one.metric == CALIBRATION else counted_classes(mine, rest, one.metric)
        rates.append(_with(one, metric_p_value(rows, inside, outside, one.metric, among)))
    classes = []
    for one in group.classes:
        place = rows.labels.index(one.label)
        if one.metric != RECALL or mine.truth[0, place] < SHOWN_FROM or not rest.truth[0, place]:
            classes.append(one)
            continue
        alone = np.arange(len(rows.labels)) == place
        classes.append(_with(one, metric_p_value(rows, inside, outside, RECALL, alone)))
    return replace(group, verdict=ALIKE, rates=tuple(rates), classes=tuple(classes))


def _with(one: Difference, p_value: float) -> Difference:
    return replace(one, p_value=p_value if np.isfinite(p_value) else None)


def _judged(groups: Sequence[GroupBias], twins: dict[int, int]) -> list[GroupBias]:
    """The same groups, their p-values corrected: the rates' among themselves, the classes' among themselves."""
    corrected = list(groups)
    for budget, kind in ((_BUDGET_OF_RATES, "rates"), (1 - _BUDGET_OF_RATES, "classes")):
        places = [
            (place, number)
            for place, group in enumerate(groups)
            for number, one in enumerate(getattr(group, kind))
            if one.p_value is not None and place not in twins
        ]
        values = dict(zip(places, holm([getattr(groups[p], kind)[n].p_value for p, n in places], budget), strict=True))
        for place, group in enumerate(groups):
            own = twins.get(place, place)
            parts = [
                replace(one, p_value=values.get((own, number))) if one.p_value is not None else one
                for number, one in enumerate(getattr(group, kind))
            ]
            # Typed as a whole: the two fields are of one kind.
            changes: dict[str, Any] = {kind: tuple(parts)}
            corrected[place] = replace(corrected[place], **changes)
    return corrected


def _verdict(group: GroupBias) -> GroupBias:
    if group.verdict != ALIKE:
        return group
    if group.different:
        return replace(group, verdict=DIFFERS, why="; ".join(one.words() for one in group.different[:3]))
    accuracy = group.rates[0].difference
    if accuracy.low is None or accuracy.high is None:
        return group
    widest = 100 * max(abs(accuracy.low), abs(accuracy.high))
    return replace(group, why=f"a difference in accuracy of up to {widest:.0f} points may be hidden")


def _overall(rows: LabelledAnswers, resamples: int) -> GroupBias:
    images = len(rows)
    units = len(np.unique(rows.units))
    if images < SHOWN_FROM:
        return GroupBias("overall", "", images, units, HIDDEN)
    everything = Division("overall", ("",), np.zeros(images, dtype=np.intp))
    drawn = resampled(rows, everything, resamples)
    pair, rest = (drawn.observed[0], drawn.drawn[0]), drawn.rest(0)
    inside = np.ones(images, dtype=bool)
    rates = mean_differences(rows, inside, ~inside, pair, rest)
    return GroupBias("overall", "", images, units, ALIKE, rates=rates, classes=class_differences(rows, pair, rest))


def _notes(rows: LabelledAnswers, columns: Sequence[str]) -> list[str]:
    notes = []
    if not len(rows):
        notes.append("There are no labelled answers yet; send labels to /v1/feedback, then audit again.")
    if not columns:
        notes.append("No subgroup columns are named: set data.subgroups in kedge.toml.")
    if len(rows) and len(set(rows.truth)) == 1:
        notes.append(f"Every labelled image shows {rows.truth[0]}: of other classes nothing can be said.")
    unsure = int(np.count_nonzero(~np.isfinite(rows.confidence)))
    if unsure:
        notes.append(f"{unsure} answers have no confidence on record and are left out of the calibration.")
    units = len(np.unique(rows.units))
    if units < len(rows):
        notes.append(f"{len(rows)} labelled images are {units} sessions or different pictures: copies count together.")
    return notes


def _silent(rows: LabelledAnswers, divisions: Sequence[Division]) -> list[str]:
    """Who does not say a column, which is no group: it may have come into use midway."""
    notes = []
    for division in divisions:
        silent = int(np.count_nonzero(division.part < 0))
        if silent and CROSS not in division.column:
            notes.append(
                f"{silent} of {len(rows)} images do not say their {division.column}; its groups are compared with "
                "those that do."
            )
    return notes
