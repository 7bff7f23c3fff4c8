"""What the watcher remembers between two looks: one row per model."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from math import inf
from typing import Any

import sqlalchemy as sa

from infra import schema
from infra.clock import now
from infra.database import reading, writing
from models.prediction import Label
from monitoring.blocks.judging import BlockState
from monitoring.evidence_records import Detector, EvidenceState
from monitoring.incoming.faults import Look
from monitoring.log.cursor import Cursor
from monitoring.policies.memory import PolicyMemory
from monitoring.triage_records import LabelsSoFar
from monitoring.watching.surroundings import Surroundings

MOST_RECENT = 20_000


@dataclass(frozen=True)
class Recent:
    """
    Where the newest predictions that were seen begin: beyond `older` lie at least 20,000 of them, or all.

    Attributes:
        newer: The next such place, beyond which `rows` of them lie.
    """

    older: Cursor = field(default_factory=Cursor)
    newer: Cursor = field(default_factory=Cursor)
    rows: int = 0

    def after(self, rows: int, end: Cursor) -> "Recent":
        """The same when so many more predictions, up to `end`, were seen."""
        if self.rows + rows < MOST_RECENT:
            return Recent(self.older, self.newer, self.rows + rows)
        return Recent(self.newer, end, 0)

    def to_json(self) -> dict[str, Any]:
        return {"older": self.older.to_json(), "newer": self.newer.to_json(), "rows": self.rows}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Recent":
        older, newer = (Cursor.from_json(document.get(name, {})) for name in ("older", "newer"))
        return cls(older, newer, document.get("rows", 0))


@dataclass(frozen=True)
class WatchState:
    """
    Everything that is carried from one look to the next.

    Attributes:
        sequence: Looks so far; two watchers at once are told apart by it.
        evidence: Of the champion; None before the first look at it.
        windows_until: Predictions up to here lie in closed windows.
        seen_until: Predictions up to here have been counted as evidence.
        open_rows: Version, as text, to its predictions in the open window: those between the two; None in states that
            were written before it was kept.
        recent: Where the newest predictions that were seen begin.
        labels_until: Labels up to here have been counted.
        waiting: Labels whose prediction had not reached the log yet.
        windows: Windows closed so far; the newest one's number.
        windows_before: That number when the evidence began; what lies before was compared with something else.
        predictions: Of the champion, since the reset.
        alarmed: Detectors whose alarm has a row, as "lane/detector".
        blocks: Where the block lane stands.
        surroundings: What stands beside the verdict, as it was read last.
        policies: What the decision about a retrain remembers.
        action: Of the newest verdict.
        report_at: When a window's page was last tried.
    """

    sequence: int = 0
    evidence: EvidenceState | None = None
    windows_until: Cursor = field(default_factory=Cursor)
    seen_until: Cursor = field(default_factory=Cursor)
    open_rows: Mapping[str, int] | None = None
    recent: Recent = field(default_factory=Recent)
    labels_until: Cursor = field(default_factory=Cursor)
    waiting: tuple[Label, ...] = ()
    windows: int = 0
    windows_before: int = 0
    predictions: int = 0
    look: Look = field(default_factory=Look)
    labels: LabelsSoFar = field(default_factory=LabelsSoFar)
    alarmed: tuple[str, ...] = ()
    blocks: BlockState = field(default_factory=BlockState)
    surroundings: Surroundings = field(default_factory=Surroundings)
    policies: PolicyMemory = field(default_factory=PolicyMemory)
    action: str = ""
    report_at: datetime | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "evidence": None if self.evidence is None else _evidence_json(self.evidence),
            "windows_until": self.windows_until.to_json(),
            "seen_until": self.seen_until.to_json(),
            "open_rows": None if self.open_rows is None else dict(self.open_rows),
            "recent": self.recent.to_json(),
            "labels_until": self.labels_until.to_json(),
            "waiting": [{**vars(label), "at": label.at.isoformat()} for label in self.waiting],
            "windows": self.windows,
            "windows_before": self.windows_before,
            "predictions": self.predictions,
            "look": self.look.to_json(),
            "labels": vars(self.labels),
            "alarmed": list(self.alarmed),
            "blocks": vars(self.blocks),
            "surroundings": self.surroundings.to_json(),
            "policies": self.policies.to_json(),
            "action": self.action,
            "report_at": None if self.report_at is None else self.report_at.isoformat(),
        }

    @classmethod
    def from_json(cls, sequence: int, document: Mapping[str, Any]) -> "WatchState":
        return cls(
            sequence=sequence,
            evidence=None if document["evidence"] is None else _evidence(document["evidence"]),
            windows_until=Cursor.from_json(document["windows_until"]),
            seen_until=Cursor.from_json(document["seen_until"]),
            open_rows=document.get("open_rows"),
            recent=Recent.from_json(document.get("recent", {})),
            labels_until=Cursor.from_json(document["labels_until"]),
            waiting=tuple(Label(**{**row, "at": datetime.fromisoformat(row["at"])}) for row in document["waiting"]),
            windows=document["windows"],
            windows_before=document.get("windows_before", 0),
            predictions=document["predictions"],
            look=Look.from_json(document["look"]),
            labels=LabelsSoFar(**document["labels"]),
            alarmed=tuple(document["alarmed"]),
            # A state that was written before there were a block lane, surroundings and policies has none.
            blocks=BlockState(**document.get("blocks", {})),
            surroundings=Surroundings.from_json(document["surroundings"])
            if "surroundings" in document
            else Surroundings(),
            policies=PolicyMemory.from_json(document["policies"]) if "policies" in document else PolicyMemory(),
            action=document["action"],
            report_at=None if document["report_at"] is None else datetime.fromisoformat(document["report_at"]),
        )


def load_state(engine: sa.Engine, name: str) -> WatchState:
    """The newest state of the model; a blank one before the first look."""
    table = schema.watch_states
    with reading(engine) as connection:
        row = connection.execute(sa.select(table).where(table.c.name == name)).mappings().first()
    return WatchState() if row is None else WatchState.from_json(row["sequence"], row["state"])


def store_state(connection: sa.Connection, name: str, state: WatchState) -> bool:
    """Write the state if nobody else has looked since it was read; whether it was written."""
    table = schema.watch_states
    values = {
        "version": None if state.evidence is None else state.evidence.model_version,
        "state": state.to_json(),
        "sequence": state.sequence,
        "updated_at": now(),
    }
    before = connection.execute(sa.select(table.c.sequence).where(table.c.name == name)).scalar()
    if before is None:
        connection.execute(table.insert().values(name=name, **values))
        return True
    if before != state.sequence - 1:
        return False
    connection.execute(table.update().where(table.c.name == name).values(**values))
    return True


def store_report_time(engine: sa.Engine, name: str, at: datetime) -> None:
    """Remember when a page was last written; a look that came in between keeps all else."""
    table = schema.watch_states
    with writing(engine) as connection:
        state = connection.execute(sa.select(table.c.state).where(table.c.name == name)).scalar()
        if state is not None:
            moved = {**state, "report_at": at.isoformat()}
            connection.execute(table.update().where(table.c.name == name).values(state=moved))


def _evidence_json(state: EvidenceState) -> dict[str, Any]:
    document = dataclasses.asdict(state)
    for detector in document["detectors"]:
        # JSON has no infinity.
        detector["log_r"] = [None if value == -inf else value for value in detector["log_r"]]
    return document


def _evidence(document: Mapping[str, Any]) -> EvidenceState:
    detectors = tuple(
        Detector(
            **{
                **entry,
                "bets": tuple(entry["bets"]),
                "log_r": tuple(-inf if value is None else value for value in entry["log_r"]),
            }
        )
        for entry in document["detectors"]
    )
    return EvidenceState(**{**document, "detectors": detectors})
