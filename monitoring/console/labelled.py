"""The part of the page that labels make possible: accuracy over time and by subgroup, always with its interval."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from monitoring.console import charts, words
from monitoring.console.charts import Line, Mark
from monitoring.console.windows import Counted, Window
from monitoring.performance import share

_MOST_LINES = 6
# Below this an interval is wider than most differences one could act on.
_LEAST_IMAGES = 30


@dataclass(frozen=True)
class Accuracy:
    """Of labelled predictions, with its 95 % interval; the three are None without labels."""

    labelled: int
    value: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Group:
    """One subgroup; `heading` names its column where a new column begins."""

    heading: str
    value: str
    predictions: int
    accuracy: Accuracy
    note: str


def figure(windows: Sequence[Window], marked: Sequence[Mark]) -> str:
    """Accuracy over time, overall with its band and by subgroup as lines; "" without labels."""
    scored = [window for window in windows if window.overall.labelled]
    if not scored:
        return ""
    at = tuple(window.ended_at for window in scored)
    overall = [_accuracy((window.overall,)) for window in scored]
    lines = [
        Line(
            name="all",
            at=at,
            values=tuple(found.value for found in overall),
            low=tuple(found.low for found in overall),
            high=tuple(found.high for found in overall),
            notes=tuple(_note(found) for found in overall),
        )
    ]
    keys = dict.fromkeys((group.column, group.value) for window in scored for group in window.subgroups)
    for column, value in list(keys)[:_MOST_LINES]:
        found = [_accuracy(_matching(window, column, value)) for window in scored]
        notes = tuple(_note(one) for one in found)
        lines.append(Line(f"{column} {value}", at, tuple(one.value for one in found), notes=notes))
    return charts.shares(lines, marked, from_zero=False)


def of_champion(windows: Sequence[Window], version: int | None) -> Accuracy:
    """Accuracy over the windows drawn of one model version."""
    return _accuracy(window.overall for window in windows if window.model_version == version)


def groups(windows: Sequence[Window], version: int | None) -> tuple[Group, ...]:
    """The subgroups over the windows drawn of one model version, by column, the worst first."""
    mine = [window for window in windows if window.model_version == version]
    keys = dict.fromkeys((group.column, group.value) for window in mine for group in window.subgroups)
    found = [(key, [one for window in mine for one in _matching(window, *key)]) for key in keys]
    scored = [(key, sum(one.predictions for one in counts), _accuracy(counts)) for key, counts in found]
    scored.sort(key=lambda entry: (entry[0][0], 1.0 if entry[2].value is None else entry[2].value, entry[0][1]))
    rows: list[Group] = []
    for (column, value), predictions, accuracy in scored:
        heading = column if not rows or column not in {row.heading for row in rows} else ""
        rows.append(Group(heading, value, predictions, accuracy, _size_note(accuracy.labelled)))
    return tuple(rows)


def scale_from(shown: Sequence[Group]) -> int:
    """Where the intervals' scale begins, in per cent: the lowest end of any, down to the next ten; it ends at 100."""
    lows = [group.accuracy.low for group in shown if group.accuracy.low is not None]
    return min(90, int(10 * min(lows, default=0.0)) * 10)


def _size_note(labelled: int) -> str:
    if labelled >= _LEAST_IMAGES:
        return ""
    return "too few to judge" if labelled else "no labels"


def _matching(window: Window, column: str, value: str) -> list[Counted]:
    return [group for group in window.subgroups if group.column == column and group.value == value]


def _accuracy(counts: Iterable[Counted]) -> Accuracy:
    listed = list(counts)
    labelled = sum(one.labelled for one in listed)
    found = share(sum(one.right for one in listed), labelled)
    return Accuracy(labelled, found.value, found.low, found.high)


def _note(found: Accuracy) -> str:
    if found.value is None:
        return "no labels"
    return f"{words.plural(found.labelled, 'label')}, {words.percent(found.low)} to {words.percent(found.high)}"
