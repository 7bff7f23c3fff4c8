"""The part of the page about accuracy: by labels and by estimate, over time and by subgroup, with intervals."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import pairwise
from typing import Any

from monitoring.console import charts, words
from monitoring.console.charts import CUT, Line, Mark
from monitoring.console.rows import Row
from monitoring.console.windows import Counted, Guess, Window
from monitoring.performance import share

_MOST_LINES = 5
_MOST_YOUNG = 3
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


def figure(windows: Sequence[Window], marked: Sequence[Mark], verdicts: Sequence[Row] = ()) -> str:
    """
    Accuracy over time: by labels with its band and by subgroup, and dashed the estimate without labels.

    "" where there is neither. ADWIN's cuts, of the newest verdict, are marked beside the alarms.
    """
    lines = [*_by_labels(windows), *_by_estimate(windows), *_by_subgroup(windows)]
    return charts.shares(lines, [*marked, *_cuts(verdicts)], from_zero=False) if lines else ""


def notes(windows: Sequence[Window], verdicts: Sequence[Row]) -> tuple[str, ...]:
    """What is to be said below the figure: the newest estimate, how complete the labels are, and the cuts."""
    return (*_estimate_notes(windows), *_maturity_notes(verdicts), *_cut_notes(verdicts))


def _by_labels(windows: Sequence[Window]) -> Iterator[Line]:
    scored = [window for window in windows if window.overall.labelled]
    if not scored:
        return
    at = tuple(window.ended_at for window in scored)
    overall = [_accuracy((window.overall,)) for window in scored]
    yield Line(
        name="by labels",
        at=at,
        values=tuple(found.value for found in overall),
        low=tuple(found.low for found in overall),
        high=tuple(found.high for found in overall),
        notes=tuple(_note(found) for found in overall),
    )


def _by_subgroup(windows: Sequence[Window]) -> Iterator[Line]:
    scored = [window for window in windows if window.overall.labelled]
    # A line of every camera would bury the one that counts; the table beside has them all.
    labelled = (group for window in scored for group in window.subgroups if group.labelled)
    keys = dict.fromkeys((group.column, group.value) for group in labelled)
    for column, value in list(keys)[: _MOST_LINES - 1] if len(keys) < _MOST_LINES else ():
        found = [_accuracy(_matching(window, column, value)) for window in scored]
        said = tuple(_note(one) for one in found)
        at = tuple(window.ended_at for window in scored)
        yield Line(f"{column} {value}", at, tuple(one.value for one in found), notes=said)


def _by_estimate(windows: Sequence[Window]) -> Iterator[Line]:
    """Valid estimates with their band; what is not to be leant on leaves a gap in the line."""
    guessed = [(window.ended_at, window.guess) for window in windows if window.guess is not None]
    if not any(guess.valid for _, guess in guessed):
        return
    yield Line(
        name="estimated without labels",
        at=tuple(at for at, _ in guessed),
        values=tuple(guess.value if guess.valid else None for _, guess in guessed),
        low=tuple(guess.low if guess.valid else None for _, guess in guessed),
        high=tuple(guess.high if guess.valid else None for _, guess in guessed),
        notes=tuple(_interval_of(guess) for _, guess in guessed),
        joined=False,
        dashed=True,
    )


def _cuts(verdicts: Sequence[Row]) -> Iterator[Mark]:
    for cut in _entries(verdicts, "adwin"):
        at = _moment(cut.get("began_at"))
        if at is not None:
            yield Mark(at, CUT, "ADWIN")


def _estimate_notes(windows: Sequence[Window]) -> Iterator[str]:
    newest = next((window for window in reversed(windows) if window.guess is not None), None)
    if newest is None or newest.guess is None:
        return
    guess = newest.guess
    told = f"Without labels, window {newest.sequence} is probably {words.percent(guess.value)} right"
    if guess.valid:
        yield f"{told} ({_interval_of(guess)}). Concept drift is not excluded: only labels can show it."
    else:
        yield f"{told}, but that is not to be leant on: {'; '.join(guess.reasons)}."


def _maturity_notes(verdicts: Sequence[Row]) -> Iterator[str]:
    young = [
        f"window {entry['sequence']}: {entry['words']}"
        for entry in _entries(verdicts, "windows")
        if isinstance(entry.get("words"), str) and isinstance(entry.get("sequence"), int)
    ]
    if young:
        told = "; ".join(young[-_MOST_YOUNG:])
        yield f"{told[:1].upper()}{told[1:]}."


def _cut_notes(verdicts: Sequence[Row]) -> Iterator[str]:
    cuts = list(_entries(verdicts, "adwin"))
    ends = [cut.get(name) for cut in cuts[-1:] for name in ("error_before", "error_after")]
    for before, after in pairwise(ends):
        if isinstance(before, float) and isinstance(after, float):
            yield (
                f"ADWIN, a second opinion that decides nothing, last cut where errors went from "
                f"{words.percent(before)} to {words.percent(after)}."
            )


def _entries(verdicts: Sequence[Row], name: str) -> Iterator[Mapping[str, Any]]:
    """Facts about labels beside the newest verdict; whatever is missing or of another kind is none."""
    evidence = verdicts[-1]["evidence"] if verdicts else None
    labelled = evidence.get("labelled") if isinstance(evidence, Mapping) else None
    listed = labelled.get(name) if isinstance(labelled, Mapping) else None
    yield from (entry for entry in (listed if isinstance(listed, list) else []) if isinstance(entry, Mapping))


def _moment(text: Any) -> datetime | None:
    try:
        found = datetime.fromisoformat(text) if isinstance(text, str) else None
    except ValueError:
        return None
    return None if found is None or found.tzinfo is None else found


def _interval_of(guess: Guess) -> str:
    return f"{words.percent(guess.low)} to {words.percent(guess.high)}"


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
