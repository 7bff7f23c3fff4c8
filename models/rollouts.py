"""Versions that are tried beside the champion: a canary answers a share of the callers, a shadow answers nobody."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from infra import schema
from infra.clock import now
from infra.database import reading, writing
from infra.errors import UserError
from infra.ledger import append_within

CANARY, SHADOW = "canary", "shadow"
ALIASES = (CANARY, SHADOW)

_pointers, _history, _versions = schema.pointers, schema.pointer_history, schema.model_versions


@dataclass(frozen=True)
class Rollout:
    """
    One version on trial.

    Attributes:
        alias: "canary" or "shadow".
        share: of predictions, 0..1: those it answers, or those it answers too.
        sequence: Counts from 1 within the alias.
    """

    alias: str
    version: int
    share: float
    since: datetime
    sequence: int


def start(engine: sa.Engine, name: str, alias: str, version: int, *, share: float, actor: str, reason: str) -> Rollout:
    """
    Put a version on trial, or give it another share; it replaces the alias's version of before.

    What is on trial so already goes on, and nothing is written: two processes that set out at once leave one row.

    Raises:
        UserError: there is no such version, it is the champion, or the share is not over 0 and up to 1.
    """
    if not 0 < share <= 1:
        raise UserError(f"The {alias}'s share should be over 0 and up to 1; found {share:g}.")
    with writing(engine) as connection:
        _check(connection, name, alias, version)
        for there in running_within(connection, name):
            if (there.alias, there.version, there.share) == (alias, version, share):
                return there
        return _move(connection, name, alias, version, share, actor, reason)


def end(engine: sa.Engine, name: str, alias: str, *, actor: str, reason: str) -> Rollout | None:
    """Take an alias's version off trial; None where there was none."""
    with writing(engine) as connection:
        row = connection.execute(sa.select(_pointers).where(_mine(_pointers, name, alias))).first()
        return None if row is None else _move(connection, name, alias, row.version, 0.0, actor, reason)


def end_of_version(engine: sa.Engine, name: str, version: int, *, actor: str, reason: str) -> tuple[Rollout, ...]:
    """End every trial of a version; gives those that there were."""
    own = tuple(rollout for rollout in running(engine, name) if rollout.version == version)
    for rollout in own:
        end(engine, name, rollout.alias, actor=actor, reason=reason)
    return own


def running(engine: sa.Engine, name: str) -> tuple[Rollout, ...]:
    """What is on trial now: the canary, then the shadow."""
    with reading(engine) as connection:
        return running_within(connection, name)


def running_within(connection: sa.Connection, name: str) -> tuple[Rollout, ...]:
    """The same inside a caller's transaction."""
    query = (
        sa.select(_pointers).where(_pointers.c.name == name, _pointers.c.alias.in_(ALIASES)).order_by(_pointers.c.alias)
    )
    rows = connection.execute(query).mappings()
    return tuple(
        Rollout(row["alias"], row["version"], row["share"], row["changed_at"], row["sequence"]) for row in rows
    )


def _check(connection: sa.Connection, name: str, alias: str, version: int) -> None:
    known = connection.execute(sa.select(_versions.c.version).where(_versions.c.name == name)).scalars().all()
    if version not in known:
        listed = ", ".join(map(str, sorted(known))) or "none yet"
        raise UserError(f"{name} has no version {version}; there are: {listed}. `kedge models` lists them.")
    champion = connection.execute(sa.select(_pointers.c.version).where(_mine(_pointers, name, "champion"))).scalar()
    if champion is None:
        raise UserError(f"{name} has no champion to compare a {alias} with. `kedge promote {version}` makes it one.")
    if champion == version:
        raise UserError(f"Version {version} is the champion already; a {alias} is another version beside it.")


def _move(
    connection: sa.Connection, name: str, alias: str, version: int, share: float, actor: str, reason: str
) -> Rollout:
    newest = connection.execute(
        sa.select(sa.func.max(_history.c.sequence)).where(_mine(_history, name, alias))
    ).scalar()
    before = connection.execute(sa.select(_pointers.c.version).where(_mine(_pointers, name, alias))).scalar()
    rollout = Rollout(alias, version, share, now(), (newest or 0) + 1)
    values = {
        "name": name,
        "alias": alias,
        "version": version,
        "previous_version": before,
        "changed_at": rollout.since,
        "sequence": rollout.sequence,
        "share": share,
    }
    connection.execute(sa.delete(_pointers).where(_mine(_pointers, name, alias)))
    if share:
        connection.execute(sa.insert(_pointers).values(**values))
    connection.execute(sa.insert(_history).values(**values, actor=actor, reason=reason))
    kind = f"{alias} started" if share else f"{alias} ended"
    append_within(connection, "models", kind, {"version": version, "share": share, "reason": reason}, actor)
    return rollout


def _mine(table: sa.Table, name: str, alias: str) -> Any:
    return (table.c.name == name) & (table.c.alias == alias)
