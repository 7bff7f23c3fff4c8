"""The gate's decision about the newest candidate, as a table that is short enough to read."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from monitoring.console import words
from monitoring.console.rows import Row

_SHOWN, _FOLDED = 7, 30
_OUTCOMES = {"promote": ("passed", "good"), "reject": ("rejected", "bad"), "undecided": ("undecided", "warn")}
_RESULTS = {"passed": "good", "failed": "bad", "undecided": "warn", "noted": ""}
# What a reader should see first.
_ORDER = {"failed": 0, "undecided": 1, "passed": 2, "noted": 3}


@dataclass(frozen=True)
class Check:
    name: str
    images: str
    detail: str
    result: str
    tone: str


@dataclass(frozen=True)
class Gate:
    candidate: str
    outcome: str
    tone: str
    objections: tuple[str, ...]
    undecided: str
    checks: tuple[Check, ...]
    folded: tuple[Check, ...]
    more: str


def of_newest(versions: Sequence[Row]) -> Gate | None:
    """The decision about the newest version that was gated; None while there is none."""
    gated = next((row for row in reversed(versions) if isinstance(row["gate"], Mapping)), None)
    if gated is None:
        return None
    decision: Mapping[str, Any] = gated["gate"]
    outcome, tone = _OUTCOMES.get(str(decision.get("outcome")), (str(decision.get("outcome", "unknown")), ""))
    if decision.get("relief"):
        outcome = f"{outcome}, let through for its proven gain"
    found = [entry for entry in decision.get("checks") or () if isinstance(entry, Mapping)]
    # Groups too small to decide anything are counted, not listed.
    shown = sorted((entry for entry in found if entry.get("status") != "listed"), key=_urgency)
    hidden = len(found) - len(shown[: _SHOWN + _FOLDED])
    return Gate(
        candidate=f"v{gated['version']}",
        outcome=outcome,
        tone=tone,
        objections=tuple(_sentence(entry) for entry in decision.get("objections") or ()),
        undecided=" ".join(str(note) for note in decision.get("notes") or ()),
        checks=tuple(_check(entry) for entry in shown[:_SHOWN]),
        folded=tuple(_check(entry) for entry in shown[_SHOWN : _SHOWN + _FOLDED]),
        more=f"{words.plural(hidden, 'group')} too small to object." if hidden else "",
    )


def _urgency(entry: Mapping[str, Any]) -> tuple[int, bool, bool]:
    return _ORDER.get(str(entry.get("result")), 1), entry.get("group") != "overall", _is_floor(entry)


def _sentence(entry: Any) -> str:
    return str(entry.get("words", "")) if isinstance(entry, Mapping) else str(entry)


def _check(entry: Mapping[str, Any]) -> Check:
    result = str(entry.get("result", ""))
    parts = [str(entry.get("name", "check"))]
    if entry.get("group") not in (None, "", "overall"):
        parts.append(str(entry["group"]))
    if entry.get("scope"):
        parts.append(f"{entry['scope']} images")
    return Check(
        name=" · ".join(parts),
        images=words.count(entry["images"]) if isinstance(entry.get("images"), int) else "",
        detail=_detail(entry),
        result=result,
        tone=_RESULTS.get(result, ""),
    )


def _detail(entry: Mapping[str, Any]) -> str:
    observed, bound, margin = (entry.get(key) for key in ("loss", "bound", "margin"))
    if not all(isinstance(value, int | float) for value in (observed, bound, margin)):
        return ""
    assert observed is not None
    assert bound is not None
    assert margin is not None
    if _is_floor(entry):
        text = f"{words.percent(observed)}, at least {words.percent(margin)}"
    else:
        moved = "better" if observed < 0 else "worse"
        proven = (
            f"a gain above {_points(-bound)} is proven" if bound < 0 else f"a loss below {_points(bound)} is proven"
        )
        allowed = f", {_points(margin)} allowed" if margin > 0 else ""
        text = f"{_points(abs(observed))} {moved}; {proven}{allowed}"
    needed, watched = entry.get("needed"), entry.get("status") == "watched"
    # The margin of a rare class's false positives is so small that no number of labels is worth naming.
    if not isinstance(needed, int) or (watched and entry.get("name") == "false positives"):
        return text
    return f"{text}; {words.count(needed)} more labels would {'judge it' if watched else 'decide'}"


def _is_floor(entry: Mapping[str, Any]) -> bool:
    return str(entry.get("name")).endswith("floor")


def _points(share: float) -> str:
    return f"{100 * share:.1f} points"
