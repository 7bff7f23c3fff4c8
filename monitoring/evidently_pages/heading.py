"""What a window's page says first, in words: the verdict, the evidence behind it, and what the rest is worth."""

from collections.abc import Mapping, Sequence
from typing import Any

from monitoring.evidently_pages.figures import own_figures, plain

_MOST_REASONS = 6
_VERDICTS = {"": "None yet", "nothing": "Nothing to do"}
_PLAIN = str.maketrans({"<": "‹", ">": "›", **{mark: f"\\{mark}" for mark in "\\`*_[]!#|~"}})


def heading(summary: Mapping[str, Any], action: str, reasons: Sequence[str], rows: Mapping[str, int]) -> str:
    """
    Markdown.

    Args:
        summary: Of the window.
        action: Of the newest verdict that had seen the window; "" where there is none yet.
        reasons: Of that verdict.
        rows: `window` and `reference`: how many rows of each side are drawn.
    """
    verdict = plain(_VERDICTS.get(action, action.replace("_", " ").capitalize()))
    parts = [f"### Verdict: {verdict}", *(f"* {_line(reason)}" for reason in reasons[:_MOST_REASONS]), ""]
    parts += [f"**{name}:** {words}\n" for name, words in _facts(summary)]
    total = summary.get("predictions")
    parts.append(
        f"What follows is computed by Evidently from {rows['window']} of the window's {total or rows['window']} "
        f"predictions and {rows['reference']} images of the reference. A `ks` value is a p-value: with many columns "
        "some are small by chance. It describes; the verdict above rests on the evidence alone."
    )
    return "\n".join(parts)


def evidence_rows(summary: Mapping[str, Any]) -> list[list[str]]:
    """Lane, detector, its evidence and its line (decimal logarithms), and whether it alarms, a row each."""
    figures = {(one.group, one.name): one.value for one in own_figures(summary)}
    rows = []
    for (group, name), value in figures.items():
        lane = group.removeprefix("evidence: ")
        line = figures.get((f"line: {lane}", name))
        if lane != group and line is not None:
            rows.append([lane, name, f"{value:.2f}", f"{line:.2f}", "alarm" if value >= line else "quiet"])
    return rows


def _facts(summary: Mapping[str, Any]) -> list[tuple[str, str]]:
    figures = {(one.group, one.name): one.value for one in own_figures(summary)}
    found = []
    for name, group in (("Accuracy where labels exist", "accuracy"), ("Estimated without", "estimate without labels")):
        value, low, high = (figures.get((group, edge)) for edge in ("value", "low", "high"))
        if value is not None:
            interval = f" ({low:.1%} to {high:.1%})" if low is not None and high is not None else ""
            found.append((name, f"{value:.1%}{interval}{_doubts(summary) if group != 'accuracy' else ''}"))
    shift = summary.get("shift")
    words = shift.get("words") if isinstance(shift, Mapping) else None
    found += [("Kind of shift", _line(words[0]))] if isinstance(words, list | tuple) and words else []
    for name, key in (("Beside the reference", "differs"), ("Slow drift", "block_lane")):
        words = summary.get(key)
        if isinstance(words, str) and words:
            found.append((name, _line(words)))
    notes = summary.get("notes")
    if isinstance(notes, list | tuple) and notes:
        found.append(("To be known", " ".join(_line(note) for note in notes[:_MOST_REASONS])))
    return found


def _doubts(summary: Mapping[str, Any]) -> str:
    """Why the estimate may not be relied on; nothing where it may."""
    guess = summary.get("estimate")
    if not isinstance(guess, Mapping) or guess.get("valid", True):
        return ""
    reasons = guess.get("reasons")
    said = " ".join(_line(reason) for reason in reasons) if isinstance(reasons, list | tuple) else ""
    return f", not to be relied on. {said}" if said else ", not to be relied on"


def _line(text: str) -> str:
    """One line without angle brackets and without what Markdown reads; sentences are not cut as names are."""
    # Callers choose some of the words: a link or a picture of theirs would be one of ours.
    return " ".join(str(text).split())[:500].translate(_PLAIN)
