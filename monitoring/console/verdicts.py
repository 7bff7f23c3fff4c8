"""The verdict in words: what it is called, what it means, why it was given and what would change it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from infra.jobs import OPEN
from monitoring.console.rows import Row
from monitoring.console.windows import Window
from monitoring.triage_records import FIX_INPUT, LABEL_FIRST, NOT_ENOUGH, NOTHING, RETRAIN

# How loud each verdict is, and what it means to somebody who has never seen one.
_MEANINGS = {
    NOTHING: ("Nothing to do", "good", "Traffic looks like the images the champion was trained on."),
    LABEL_FIRST: (
        "Label first",
        "warn",
        "Something has changed. Whether a retrain can mend it is not known yet: labels of recent images decide.",
    ),
    FIX_INPUT: (
        "Fix the input",
        "bad",
        "The images themselves look broken. Retraining on them would teach the fault.",
    ),
    RETRAIN: (
        "Retrain",
        "active",
        "Labels show that the champion errs more than it should, and there are enough of them to learn from.",
    ),
}


@dataclass(frozen=True)
class Verdict:
    """`tone` is "good", "warn", "bad", "active" or "" for none; `since` is None before the first verdict."""

    title: str
    tone: str
    meaning: str
    since: datetime | None
    reasons: tuple[str, ...]
    notes: tuple[str, ...]
    would_change: tuple[str, ...]


def newest(verdicts: Sequence[Row], since: datetime | None, jobs: Sequence[Row], window: Window | None) -> Verdict:
    """The verdict that stands; before the first one, what it takes to get one."""
    if not verdicts:
        return Verdict(
            title="No verdict yet",
            tone="",
            meaning="The watcher gives one at every look, once a champion serves and predictions have been logged.",
            since=None,
            reasons=(),
            notes=(),
            would_change=(),
        )
    row = verdicts[-1]
    title, tone, meaning = _MEANINGS.get(row["action"], (row["action"], "warn", ""))
    if row["reasons"] and str(row["reasons"][0]).startswith(NOT_ENOUGH):
        title, tone, meaning = (
            "Not enough seen yet",
            "",
            "Watching began anew with this champion; nothing is known yet.",
        )
    running = [job["state"] for job in jobs if job["state"] in OPEN]
    if running:
        title, tone = ("Retraining" if "running" in running else "Retrain is queued"), "active"
    reasons = tuple(str(reason) for reason in row["reasons"])
    calibrating = window.block_lane if window is not None else ""
    said = any(calibrating in reason for reason in reasons)
    return Verdict(
        title=title,
        tone=tone,
        meaning=meaning,
        since=since,
        reasons=reasons,
        notes=(f"Slow change: {calibrating}.",) if calibrating and not said else (),
        would_change=_would_change(row["evidence"]),
    )


def named(action: str) -> tuple[str, str]:
    """A verdict's title and tone."""
    title, tone, _ = _MEANINGS.get(action, (action, "", ""))
    return title, tone


def _would_change(evidence: object) -> tuple[str, ...]:
    given = evidence.get("would_change") if isinstance(evidence, Mapping) else None
    return (given,) if isinstance(given, str) else tuple(str(change) for change in given or ())
