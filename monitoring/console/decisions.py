"""The page of decisions: every retrain as a story, who was champion when, and the ledger that proves both."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from infra.ledger import Ledger, LedgerRow
from infra.ledger_heads import HeadsExport, exports_noted
from infra.settings import Settings
from monitoring.console import words
from monitoring.console.sheet import Link, Sheet, refresh_s
from monitoring.decisions import rows, story, timeline
from monitoring.decisions.facts import in_short
from monitoring.decisions.records import Proof, Reign, Step, Story

_OPEN, _FOLDED, _LISTED_REIGNS, _LISTED_ROWS = 3, 20, 15, 15
_MOST_LINES, _MOST_CHARACTERS = 4, 110
_TONES = {"promoted": "good", "rolled back": "bad", "put back": "warn"}
# What each step is called where somebody meets it for the first time.
_PARTS = {"trigger": "Trigger", "job": "Job", "gate": "Gate", "rollout": "Rollout", "promotion": "Promotion",
          "afterwards": "Afterwards"}  # fmt: skip


@dataclass(frozen=True)
class Told:
    """One step; `more` are the lines that are folded away."""

    part: str
    at: datetime | None
    title: str
    tone: str
    lines: tuple[str, ...]
    more: tuple[str, ...]
    missing: tuple[str, ...]
    proofs: tuple[Proof, ...]


@dataclass(frozen=True)
class Decision:
    """One story."""

    at: datetime
    what: str
    tone: str
    came_to: str
    steps: tuple[Told, ...]


@dataclass(frozen=True)
class Champion:
    version: int
    since: datetime
    until: datetime | None
    lasted: str
    how: str
    tone: str
    actor: str
    reason: str
    tried: str
    proofs: tuple[Proof, ...]


@dataclass(frozen=True)
class Written:
    """A row of the ledger in short."""

    at: datetime
    reference: str
    kind: str
    actor: str
    facts: str
    hash: str


@dataclass(frozen=True)
class Page(Sheet):
    """Everything the page says, in order."""

    decisions: tuple[Decision, ...]
    folded: tuple[Decision, ...]
    champions: tuple[Champion, ...]
    problems: tuple[str, ...]
    written: tuple[Written, ...]
    ledger: str
    exported: str


def page(engine: sa.Engine, settings: Settings, present: datetime) -> Page:
    """The page of one moment."""
    found = rows.gather(engine, settings.project.name)
    line = timeline.timeline(found)
    told = [_decision(one) for one in story.stories(found)]
    ledger = Ledger(engine)
    heads = ledger.heads()
    count = sum(head.rows for head in heads)
    return Page(
        project=settings.project.name,
        present=present,
        refresh_s=refresh_s(settings),
        links=(Link("Overview", "./"), Link("JSON", "api/decisions.json")),
        decisions=tuple(told[:_OPEN]),
        folded=tuple(told[_OPEN : _OPEN + _FOLDED]),
        champions=tuple(_champion(one, present) for one in reversed(line.reigns[-_LISTED_REIGNS:])),
        problems=line.problems,
        written=tuple(map(_written, reversed(ledger.newest(_LISTED_ROWS)))),
        ledger=f"{words.plural(count, 'row')} in {words.plural(len(heads), 'stream')}",
        exported=_exported(exports_noted(engine), present),
    )


def document(engine: sa.Engine, name: str) -> dict[str, Any]:
    """The same for machines, but for its times, which are still times."""
    found = rows.gather(engine, name)
    line = timeline.timeline(found)
    return {
        "project": name,
        "champions": [asdict(one) for one in line.reigns],
        "problems": list(line.problems),
        "decisions": [asdict(one) for one in story.stories(found)],
    }


def _decision(one: Story) -> Decision:
    return Decision(one.at, one.what, one.tone, one.came_to, tuple(map(_told, one.steps)))


def _told(step: Step) -> Told:
    lines, more = step.lines[:_MOST_LINES], step.lines[_MOST_LINES:]
    part = _PARTS.get(step.part, step.part)
    return Told(part, step.at, step.title, step.tone, lines, more, step.missing, step.proofs)


def _champion(one: Reign, present: datetime) -> Champion:
    tried = [f"{trial.alias} v{trial.version}, {100 * trial.share:g} %" for trial in one.trials]
    return Champion(
        version=one.version,
        since=one.since,
        until=one.until,
        lasted=words.duration((one.until or present) - one.since),
        how=one.how,
        tone=_TONES.get(one.how, "warn"),
        actor=one.actor,
        reason=one.reason,
        tried="; ".join(tried),
        proofs=one.proofs,
    )


def _written(row: LedgerRow) -> Written:
    return Written(row.at, row.reference, row.kind, row.actor, in_short(row.facts, _MOST_CHARACTERS), row.hash[:8])


def _exported(made: tuple[HeadsExport, ...], present: datetime) -> str:
    if not made:
        return (
            "Its heads were never exported: that its end was cut off could not be seen. `kedge ledger export` does it."
        )
    newest = made[-1]
    return (
        f"Its heads were exported {words.ago(newest.at, present)} ({newest.title}, {words.count(newest.rows)} rows). "
        "`kedge ledger verify` holds every row against them."
    )
