"""A window's own figures, flat, as Evidently's snapshots and dashboard carry them beside the library's."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from math import isfinite
from typing import Any

EDGES = ("value", "low", "high")
MOST_SUBGROUPS = 8

ATYPICAL, DISTANCE, ORIGIN, FAULTS, WINDOW_TEST = "atypical", "distance", "origin", "input faults", "window test"
ACCURACY, ESTIMATE, COUNTS = "accuracy", "estimate without labels", "counts"


@dataclass(frozen=True)
class Figure:
    """One number of a window; `group` names what belongs into one picture, `name` the line in it."""

    group: str
    name: str
    value: float


def plain(text: str) -> str:
    """
    Words that a page can show as they are, in at most 80 characters.

    The library writes texts into a script element of its page without escaping them, and callers choose some of them.
    """
    text = text.replace("<", "‹").replace(">", "›")
    return text if len(text) <= 80 else f"{text[:79]}…"  # noqa: PLR2004 - as the sentence above says


def subgroup_title(column: str, value: str) -> str:
    return plain(f"{column} = {value}")


def evidence_group(lane: str) -> str:
    return f"evidence: {lane}"


def line_group(lane: str) -> str:
    return f"line: {lane}"


def own_figures(summary: Mapping[str, Any]) -> tuple[Figure, ...]:
    """Whatever finite numbers the summary holds; a part that it lacks, or holds in another form, is left out."""
    found: dict[tuple[str, str], float] = {}
    for group, name, value in _all(summary):
        number = _number(value)
        if number is not None:
            # Of two under one name, the larger: a line of a chart has one value at a time.
            found[group, name] = max(number, found.get((group, name), number))
    return tuple(Figure(group, name, value) for (group, name), value in found.items())


def subgroups_of(summary: Mapping[str, Any]) -> tuple[tuple[str, str], ...]:
    """The largest subgroups of the window, as (column, value)."""
    entries = [one for one in _entries(summary.get("subgroups")) if _number(one.get("predictions"))]
    largest = sorted(entries, key=lambda one: -one["predictions"])[:MOST_SUBGROUPS]
    return tuple((str(one.get("column", "")), str(one.get("value", ""))) for one in largest)


def _all(summary: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    for group, part in ((ATYPICAL, "atypical"), (ORIGIN, "origin")):
        yield from ((group, plain(str(name)), value) for name, value in _mapping(summary.get(part)).items())
    for one in _entries(summary.get("signals")):
        yield DISTANCE, plain(str(one.get("family", ""))), one.get("effect")
    for one in _entries(summary.get("faults")):
        yield FAULTS, plain(str(one.get("kind", ""))), one.get("share")
    for one in _entries(summary.get("evidence")):
        lane, detector = plain(str(one.get("lane", ""))), plain(str(one.get("detector", "")))
        yield evidence_group(lane), detector, one.get("log10_evidence")
        yield line_group(lane), detector, one.get("log10_threshold")
    yield WINDOW_TEST, "p-value", summary.get("p_value")
    yield from _edges(ACCURACY, summary.get("accuracy"))
    yield from _edges(ESTIMATE, _mapping(summary.get("estimate")).get("accuracy"))
    yield COUNTS, "predictions", summary.get("predictions")
    yield COUNTS, "labelled", summary.get("labelled")
    yield from _of_subgroups(summary)


def _of_subgroups(summary: Mapping[str, Any]) -> Iterator[tuple[str, str, Any]]:
    shown = set(subgroups_of(summary))
    estimated = _entries(_mapping(summary.get("estimate")).get("subgroups"))
    guesses = {(one.get("column"), one.get("value")): one.get("accuracy") for one in estimated}
    for one in _entries(summary.get("subgroups")):
        column, value = str(one.get("column", "")), str(one.get("value", ""))
        if (column, value) in shown:
            title = subgroup_title(column, value)
            yield f"{COUNTS}: {title}", "predictions", one.get("predictions")
            yield f"{COUNTS}: {title}", "labelled", one.get("labelled")
            edges = {"value": one.get("accuracy"), "low": one.get("low"), "high": one.get("high")}
            yield from _edges(f"{ACCURACY}: {title}", edges)
            yield from _edges(f"{ESTIMATE}: {title}", guesses.get((column, value)))


def _edges(group: str, interval: Any) -> Iterator[tuple[str, str, Any]]:
    yield from ((group, edge, _mapping(interval).get(edge)) for edge in EDGES)


def _mapping(found: Any) -> Mapping[str, Any]:
    return found if isinstance(found, Mapping) else {}


def _entries(found: Any) -> Sequence[Mapping[str, Any]]:
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list | tuple) else []


def _number(value: Any) -> float | None:
    numeric = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if numeric and isfinite(value) else None
