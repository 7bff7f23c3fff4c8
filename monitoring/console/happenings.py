"""What happened, newest first, and the windows it happened in."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import groupby

from infra.ledger import LedgerRow
from monitoring.console import retrains, verdicts, words
from monitoring.console.champion import report_href
from monitoring.console.rows import Row, Rows
from monitoring.console.windows import Window
from monitoring.decisions.moves import BACKWARDS, PROMOTED, noted_moves
from monitoring.watching import silence

_LISTED_EVENTS, _LISTED_WINDOWS, _LISTED_REPORTS = 14, 12, 5
# Detectors named in one line; the rest is counted.
_NAMED = 3


@dataclass(frozen=True)
class Event:
    at: datetime
    kind: str
    tone: str
    text: str


@dataclass(frozen=True)
class WindowRow:
    sequence: int
    ended_at: datetime
    predictions: int
    version: int
    most_atypical: str
    verdict: str
    tone: str
    report_href: str


@dataclass(frozen=True)
class Report:
    at: datetime
    title: str
    href: str


def open_alarms(found: Rows) -> tuple[Row, ...]:
    """Alarms that nobody has acted on and that concern the champion, or the watcher itself."""
    champion = found.pointer["version"] if found.pointer else None
    return tuple(row for row in found.alarms if row["acted_on_at"] is None and row["model_version"] in (None, champion))


def events(found: Rows) -> tuple[Event, ...]:
    """Alarms, changes of verdict, jobs and changes of champion."""
    noted = noted_moves(found.promotions, found.noted)
    every = [*_alarms(found.alarms), *_promotions(found.promotions, noted)]
    every += [*_verdicts(found.verdicts), *_jobs(found.jobs)]
    return tuple(sorted(every, key=lambda event: event.at, reverse=True)[:_LISTED_EVENTS])


def window_rows(windows: Sequence[Window], given: Sequence[Row]) -> tuple[WindowRow, ...]:
    """The newest windows, newest first, each with the last verdict given on it."""
    verdict_of = {row["window_sequence"]: row["action"] for row in given}
    rows = []
    for window in _listed(windows):
        most = max(window.atypical, key=lambda channel: channel.share, default=None)
        title, tone = verdicts.named(verdict_of.get(window.sequence, ""))
        rows.append(
            WindowRow(
                sequence=window.sequence,
                ended_at=window.ended_at,
                predictions=window.predictions,
                version=window.model_version,
                most_atypical=f"{words.percent(most.share, 0)} {most.name}" if most else words.NOTHING,
                verdict=title,
                tone=tone,
                report_href=report_href(window.report_key),
            )
        )
    return tuple(rows)


def _listed(windows: Sequence[Window]) -> list[Window]:
    """The newest, and of older ones the newest with a page: few windows have one, and it is what people look for."""
    newest, older = windows[-_LISTED_WINDOWS:], windows[:-_LISTED_WINDOWS]
    drawn = [window for window in older if window.report_key][-1:] if not any(w.report_key for w in newest) else []
    return [*reversed(newest), *drawn]


def reports(found: Rows) -> tuple[Report, ...]:
    """Reports that belong to no window: audits."""
    others = [row for row in found.reports if row["kind"] != "window"]
    return tuple(Report(row["at"], row["title"], report_href(row["object_key"])) for row in others[:_LISTED_REPORTS])


def _alarms(alarms: Sequence[Row]) -> Iterator[Event]:
    # A change that is plain alarms many detectors in one look: that is one happening, not many.
    for (lane, window), group in groupby(alarms, key=lambda row: (row["lane"], row["window_sequence"])):
        rows = list(group)
        facts = rows[0]["facts"] if isinstance(rows[0]["facts"], Mapping) else {}
        if lane == silence.LANE:
            yield Event(rows[0]["at"], "alarm", "bad", str(facts.get("words", "The watcher was silent.")))
            continue
        named = ", ".join(row["detector"] for row in rows[:_NAMED])
        more = f" and {len(rows) - _NAMED} more" if len(rows) > _NAMED else ""
        where = "" if window is None else f", window {window}"
        yield Event(rows[0]["at"], "alarm", "bad", f"{lane}: {named}{more}{where}")


def _promotions(promotions: Sequence[Row], noted: Mapping[int, LedgerRow]) -> Iterator[Event]:
    for row in promotions:
        kind = noted[row["sequence"]].kind if row["sequence"] in noted else PROMOTED
        tone = "warn" if kind in BACKWARDS else "good"
        yield Event(row["changed_at"], kind, tone, f"v{row['version']}: {row['reason']}")


def _verdicts(given: Sequence[Row]) -> Iterator[Event]:
    for action, group in groupby(given, key=lambda row: row["action"]):
        title, tone = verdicts.named(action)
        yield Event(next(group)["at"], "verdict", tone, title)


def _jobs(jobs: Sequence[Row]) -> Iterator[Event]:
    for job in jobs:
        if job["finished_at"] is not None:
            text = job["error"] or retrains.outcome(job) or retrains.reason(job)
            tone = retrains.TONES.get(job["state"], "")
            yield Event(job["finished_at"], f"{job['kind']} {job['state']}", tone, text)
        if job["started_at"] is not None:
            yield Event(job["started_at"], f"{job['kind']} started", "active", retrains.reason(job))
