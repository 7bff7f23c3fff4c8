"""A closed window as the page needs it, read from its row without insisting on any part of the summary."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from monitoring.console.rows import Row

GROSS = "gross"


@dataclass(frozen=True)
class Channel:
    """Share of the window's predictions that are atypical in one channel, 0..1."""

    name: str
    share: float


@dataclass(frozen=True)
class Detector:
    """One detector as it stood when the window closed; logarithms to base 10, `null` the mean it tolerates."""

    lane: str
    name: str
    evidence: float
    threshold: float
    units: int
    null: float | None
    alarmed: bool


@dataclass(frozen=True)
class Reading:
    """Every detector at one moment: at the end of a window, or at the watcher's newest look."""

    at: datetime
    model_version: int
    detectors: tuple[Detector, ...]


@dataclass(frozen=True)
class Difference:
    """How far one signal is from the reference: 0 the same, 1 nothing in common."""

    family: str
    name: str
    effect: float
    reference: float | None
    window: float | None


@dataclass(frozen=True)
class Counted:
    """Predictions, and of those with a label how many were right; `column` is "" for the whole window."""

    column: str
    value: str
    predictions: int
    labelled: int
    right: int


@dataclass(frozen=True)
class Guess:
    """Accuracy estimated without labels, with its 95 % interval, 0..1; `reasons` say why it is not to be leant on."""

    value: float
    low: float
    high: float
    valid: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True)
class Window:
    """A row of `windows`; parts that its summary lacks are empty."""

    sequence: int
    model_version: int
    started_at: datetime
    ended_at: datetime
    predictions: int
    report_key: str
    atypical: tuple[Channel, ...]
    detectors: tuple[Detector, ...]
    block_lane: str
    differences: tuple[Difference, ...]
    new_values: tuple[str, ...]
    notes: tuple[str, ...]
    overall: Counted
    subgroups: tuple[Counted, ...]
    guess: Guess | None
    contributors: Mapping[str, tuple[str, ...]]

    @property
    def tolerance(self) -> float | None:
        """Share of atypical images that the gross lane tolerates."""
        return next((found.null for found in self.detectors if found.lane == GROSS), None)


def read(row: Row) -> Window:
    """The row as a record; an older summary that lacks a part loses that part only."""
    summary = row["summary"] if isinstance(row["summary"], Mapping) else {}
    atypical = summary.get("atypical")
    channels = atypical.items() if isinstance(atypical, Mapping) else ()
    return Window(
        sequence=row["sequence"],
        model_version=row["model_version"],
        started_at=row["started_at"],
        ended_at=row["ended_at"],
        predictions=row["predictions"],
        report_key=row["report_key"] or "",
        atypical=tuple(Channel(str(name), share) for name, value in channels if (share := _number(value)) is not None),
        detectors=tuple(_detectors(summary, "evidence")),
        block_lane=str(summary.get("block_lane") or ""),
        differences=tuple(_differences(summary)),
        new_values=tuple(_new_values(summary.get("new_values"))),
        notes=tuple(str(note) for note in summary.get("notes") or ()),
        overall=Counted("", "", row["predictions"], _count(summary.get("labelled")), _count(summary.get("right"))),
        subgroups=tuple(_subgroups(summary)),
        guess=_guess(summary.get("estimate")),
        contributors=dict(_contributors(summary.get("contributors"))),
    )


def readings(windows: Sequence[Window], verdict: Row | None) -> tuple[Reading, ...]:
    """Where the evidence stood at each window's end, and now: labels move it between windows too."""
    found = [Reading(window.ended_at, window.model_version, window.detectors) for window in windows if window.detectors]
    if verdict is not None and isinstance(verdict["evidence"], Mapping):
        present = tuple(_detectors(verdict["evidence"], "detectors"))
        if present and (not found or verdict["at"] > found[-1].at):
            found.append(Reading(verdict["at"], verdict["model_version"], present))
    return tuple(found)


def _detectors(facts: Mapping[str, Any], name: str) -> Iterator[Detector]:
    for entry in _entries(facts, name):
        evidence, threshold = _number(entry.get("log10_evidence")), _number(entry.get("log10_threshold"))
        if evidence is not None and threshold is not None:
            yield Detector(
                lane=str(entry.get("lane", "")),
                name=str(entry.get("detector", "")),
                evidence=evidence,
                threshold=threshold,
                units=_count(entry.get("units")),
                null=_number(entry.get("null")),
                alarmed=entry.get("alarmed_at") is not None,
            )


def _differences(summary: Mapping[str, Any]) -> Iterator[Difference]:
    for entry in _entries(summary, "signals"):
        effect = _number(entry.get("effect"))
        if effect is not None:
            yield Difference(
                family=str(entry.get("family", "")),
                name=str(entry.get("name", "")),
                effect=effect,
                reference=_number(entry.get("reference")),
                window=_number(entry.get("window")),
            )


def _subgroups(summary: Mapping[str, Any]) -> Iterator[Counted]:
    for entry in _entries(summary, "subgroups"):
        yield Counted(
            column=str(entry.get("column", "")),
            value=str(entry.get("value", "")),
            predictions=_count(entry.get("predictions")),
            labelled=_count(entry.get("labelled")),
            right=_count(entry.get("right")),
        )


def _guess(found: Any) -> Guess | None:
    accuracy = found.get("accuracy") if isinstance(found, Mapping) else None
    if not isinstance(accuracy, Mapping):
        return None
    value, low, high = (_number(accuracy.get(name)) for name in ("value", "low", "high"))
    if value is None or low is None or high is None:
        return None
    reasons = tuple(str(reason) for reason in found.get("reasons") or ())
    return Guess(value, low, high, found.get("valid") is True, reasons)


def _contributors(found: Any) -> Iterator[tuple[str, tuple[str, ...]]]:
    for signal, ids in found.items() if isinstance(found, Mapping) else ():
        if isinstance(ids, list) and ids:
            yield str(signal), tuple(str(one) for one in ids)


def _new_values(found: Any) -> Iterator[str]:
    for column, values in found.items() if isinstance(found, Mapping) else ():
        listed = ", ".join(str(value) for value in values)
        yield f"{column}: {listed}"


def _entries(summary: Mapping[str, Any], name: str) -> Iterator[Mapping[str, Any]]:
    found = summary.get(name)
    yield from (entry for entry in (found if isinstance(found, list) else []) if isinstance(entry, Mapping))


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _count(value: Any) -> int:
    return int(_number(value) or 0)
