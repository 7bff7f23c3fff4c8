"""What Evidently computed of the newest window that was drawn, to stand beside our own differences."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from monitoring.console import words
from monitoring.console.champion import report_href
from monitoring.console.rows import Row

_MOST_SHOWN = 12


@dataclass(frozen=True)
class ColumnTest:
    """One column: `value` is a p-value where `method` is "ks", and a distance from 0 to 1 where it is not."""

    column: str
    method: str
    value: str
    ours: str


@dataclass(frozen=True)
class Beside:
    """`quality` is a sentence, "" without labels; `hidden` says how many columns are not listed; `href` leads to it."""

    window: int
    href: str
    rows: str
    tests: tuple[ColumnTest, ...]
    hidden: str
    quality: str


def beside(rows: Sequence[Row]) -> Beside | None:
    """Of the newest row whose summary has it; None before the first page is drawn."""
    for row in reversed(rows):
        summary = row["summary"] if isinstance(row["summary"], Mapping) else {}
        found = summary.get("evidently")
        if isinstance(found, Mapping):
            return _read(row, summary, found)
    return None


def _read(row: Row, summary: Mapping[str, Any], found: Mapping[str, Any]) -> Beside:
    drift, quality = _mapping(found.get("drift")), _mapping(found.get("quality"))
    ours: dict[Any, Any] = {}
    signals = summary.get("signals")
    for signal in signals if isinstance(signals, list) else ():
        name = f"metadata: {signal.get('name')}" if signal.get("family") == "metadata" else signal.get("name")
        ours[name] = signal.get("effect")
    tests = [(name, _mapping(test)) for name, test in drift.items()]
    tests = [(name, test) for name, test in tests if _is_number(test.get("value"))]
    # The tests first, the smallest p-value leading; distances after them, the largest leading.
    tests.sort(key=lambda one: (one[1].get("method") != "ks", _order(one[1])))
    sides = found.get("rows")
    return Beside(
        window=row["sequence"],
        href=report_href(row.get("report_key")),
        rows=" and ".join(words.count(int(side)) for side in sides) if isinstance(sides, list) else words.NOTHING,
        tests=tuple(
            ColumnTest(name, str(test.get("method", "")), f"{test['value']:.3g}", _distance(ours.get(name)))
            for name, test in tests[:_MOST_SHOWN]
        ),
        hidden=f"{len(tests) - _MOST_SHOWN} more on its page." if len(tests) > _MOST_SHOWN else "",
        quality=", ".join(f"{name} {words.percent(value)}" for name, value in quality.items() if _is_number(value)),
    )


def _order(test: Mapping[str, Any]) -> float:
    value = float(test["value"])
    return value if test.get("method") == "ks" else -value


def _distance(effect: Any) -> str:
    return f"{effect:.2f}" if _is_number(effect) else words.NOTHING


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _mapping(found: Any) -> Mapping[str, Any]:
    return found if isinstance(found, Mapping) else {}
