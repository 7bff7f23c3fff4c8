"""Rollouts as rows: which version is on its way to the callers, how far it has come, and why it stopped there."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from infra import schema
from infra.clock import now
from infra.database import reading, writing
from infra.ledger import append_within

WAITING, SHADOW, CANARY, PROMOTING, PROBATION = "waiting", "shadow", "canary", "promoting", "probation"
DONE, STOPPED, ROLLED_BACK, EXPIRED = "done", "stopped", "rolled_back", "expired"
OPEN = (WAITING, SHADOW, CANARY, PROMOTING, PROBATION)
# Labels come more slowly than answers: they are waited for so many times the longest stage.
PATIENT = 14

STREAM = "rollouts"  # of the ledger
_table = schema.rollout_runs


@dataclass(frozen=True)
class RunFacts:
    """
    What a rollout remembers between two looks.

    Attributes:
        actor: Who or what began it.
        gains: Points of accuracy, 0..1, by which the candidate was better on recent judge images where the gate
            proved it better: overall, and by subgroup. On so many images it is to part from the champion.
        longer: Whether the gate was undecided and let it go on by relief: its canary is twice as long.
        wider: Whether it knows other classes than the champion: callers of one moment are not answered by the two, so
            it has no canary.
        steps: Counts the row's changes, so that two processes never make the same one.
        counted_from: When every worker had it as shadow or canary, as ISO 8601: what was answered before that does not
            count; "" = not yet.
        closing: The end that was decided and whose deeds may still be under way; "" = none.
        refused_at: Since when a serving worker says that it refuses the version, as ISO 8601; "" = none does.
        overtaken: Whether it ended only because another version came first: nothing spoke against it.
        untried: Whether it ended only because its trial could not begin: nobody had refused it.
        reading: Id of the job that judges it once more, after it has waited for labels; "" = none was asked for.
        seen: What the newest look found, as JSON, for people.
    """

    actor: str = "kedge rollout"
    gains: Mapping[str, float] = field(default_factory=dict)
    longer: bool = False
    wider: bool = False
    steps: int = 0
    counted_from: str = ""
    closing: str = ""
    refused_at: str = ""
    overtaken: bool = False
    untried: bool = False
    reading: str = ""
    seen: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class RolloutRun:
    """
    One version's way to the callers.

    Attributes:
        sequence: Counts from 1 within the model's name.
        champion_version: The champion that it is to follow; None for the first of all.
        stage: (waiting: as a shadow, for labels that let the gate decide →) shadow → canary → promoting → probation →
            done; or stopped, rolled_back, expired.
        stage_since: When the stage began.
        job_id: The retrain that made the version; None where a person began the rollout.
        words: The newest step, for people.
    """

    name: str
    sequence: int
    version: int
    champion_version: int | None
    stage: str
    started_at: datetime
    stage_since: datetime
    ended_at: datetime | None
    reason: str
    job_id: str | None
    words: str
    facts: RunFacts

    @property
    def is_open(self) -> bool:
        """Whether something is still to come."""
        return self.stage in OPEN

    @property
    def promoted(self) -> bool:
        """Whether it came as far as to everybody, and stayed so far."""
        return self.stage in (PROBATION, DONE)


def begin(
    engine: sa.Engine,
    name: str,
    version: int,
    *,
    champion_version: int | None,
    stage: str,
    reason: str,
    job_id: str | None,
    facts: RunFacts,
    words: str,
) -> RolloutRun:
    """
    Write a new rollout; for a job that has one already, that one is returned and nothing is added.

    Another rollout that had not come to everybody yet is to stop: its candidate is overtaken by this one.
    """
    with writing(engine) as connection:
        if job_id is not None:
            known = _first(connection, _table.c.name == name, _table.c.job_id == job_id)
            if known is not None:
                return known
        for other in _open_within(connection, name):
            if other.stage in (WAITING, SHADOW, CANARY) and not other.facts.closing:
                again = f"begun anew by {facts.actor}: {reason}"
                why = again if other.version == version else f"overtaken by version {version}, whose rollout began"
                _write(connection, closing(other, STOPPED, why, overtaken=True), "closing")
        newest = connection.execute(sa.select(sa.func.max(_table.c.sequence)).where(_table.c.name == name)).scalar()
        at = now()
        run = RolloutRun(
            name, (newest or 0) + 1, version, champion_version, stage, at, at, None, reason, job_id, words, facts
        )
        connection.execute(_table.insert().values(**_row(run)))
        _note(connection, run, "begun")
        return run


def move(engine: sa.Engine, before: RolloutRun, after: RolloutRun, kind: str) -> RolloutRun | None:
    """
    Write the next step, with its ledger row; None, and nothing is written, where somebody else took a step meanwhile.

    kind: Of the ledger's row; "" = none, where only figures for people changed.
    """
    with writing(engine) as connection:
        return move_within(connection, before, after, kind)


def move_within(connection: sa.Connection, before: RolloutRun, after: RolloutRun, kind: str) -> RolloutRun | None:
    """The same inside a caller's `writing` transaction."""
    return _write(connection, after, kind) if stands_within(connection, before) else None


def stands_within(connection: sa.Connection, run: RolloutRun) -> bool:
    """Whether nobody has taken a step since `run` was read."""
    present = _first(connection, _table.c.name == run.name, _table.c.sequence == run.sequence)
    return present is not None and (present.stage, present.facts.steps) == (run.stage, run.facts.steps)


def closing(run: RolloutRun, end: str, words: str, *, overtaken: bool = False, untried: bool = False) -> RolloutRun:
    """The run once its end is decided: what has to be done for it is done next, and only then is it over."""
    return replace(run, words=words, facts=replace(run.facts, closing=end, overtaken=overtaken, untried=untried))


def runs(engine: sa.Engine, name: str, last: int | None = None) -> tuple[RolloutRun, ...]:
    """Every rollout of the model, or the newest so many; the newest first."""
    query = sa.select(_table).where(_table.c.name == name).order_by(_table.c.sequence.desc()).limit(last)
    with reading(engine) as connection:
        return tuple(_run(row) for row in connection.execute(query).mappings())


def open_runs(engine: sa.Engine, name: str) -> tuple[RolloutRun, ...]:
    """Those that are under way, the oldest first."""
    with reading(engine) as connection:
        return _open_within(connection, name)


def run_of(engine: sa.Engine, name: str, sequence: int) -> RolloutRun:
    """One rollout, as it stands now."""
    with reading(engine) as connection:
        found = _first(connection, _table.c.name == name, _table.c.sequence == sequence)
    assert found is not None, f"{name} has no rollout {sequence}: rows are never deleted"
    return found


def of_job(engine: sa.Engine, name: str, job_id: str) -> RolloutRun | None:
    """The rollout that a job's candidate got; None where it got none."""
    with reading(engine) as connection:
        return _first(connection, _table.c.name == name, _table.c.job_id == job_id)


def _open_within(connection: sa.Connection, name: str) -> tuple[RolloutRun, ...]:
    query = sa.select(_table).where(_table.c.name == name, _table.c.stage.in_(OPEN)).order_by(_table.c.sequence)
    return tuple(_run(row) for row in connection.execute(query).mappings())


def _first(connection: sa.Connection, *conditions: sa.ColumnElement[bool]) -> RolloutRun | None:
    query = sa.select(_table).where(*conditions).order_by(_table.c.sequence).limit(1)
    row = connection.execute(query).mappings().first()
    return None if row is None else _run(row)


def _write(connection: sa.Connection, after: RolloutRun, kind: str) -> RolloutRun:
    written = replace(after, facts=replace(after.facts, steps=after.facts.steps + 1))
    mine = (_table.c.name == written.name) & (_table.c.sequence == written.sequence)
    connection.execute(_table.update().where(mine).values(**_row(written)))
    if kind:
        _note(connection, written, kind)
    return written


def _note(connection: sa.Connection, run: RolloutRun, kind: str) -> None:
    facts = {
        "rollout": run.sequence,
        "version": run.version,
        "champion": run.champion_version,
        "stage": run.stage,
        "job": run.job_id,
        "words": run.words,
        "seen": dict(run.facts.seen),
    }
    append_within(connection, STREAM, kind, facts, run.facts.actor if kind == "begun" else "kedge rollout")


def _row(run: RolloutRun) -> dict[str, Any]:
    row = {name: value for name, value in vars(run).items() if name != "facts"}
    return {**row, "state": asdict(run.facts)}


def _run(row: Mapping[str, Any] | sa.RowMapping) -> RolloutRun:
    columns = {name: row[name] for name in _table.c.keys() if name != "state"}  # noqa: SIM118 - columns are no mapping
    # A row of a later release, met by a process that still runs the earlier one, may remember more.
    known = {one.name: row["state"][one.name] for one in fields(RunFacts) if one.name in row["state"]}
    return RolloutRun(**columns, facts=RunFacts(**known))
