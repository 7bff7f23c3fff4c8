"""
A person's word about an alarm: the present is the new normal, or what was wrong has been put right.

Both begin the evidence anew and take the open alarms as acted on. A new normal needs a profile of its own, fitted from
what came since the change; the profile of before stays in the object store, and the ledger says where.
"""

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

import sqlalchemy as sa

from infra import schema
from infra.clock import now
from infra.database import reading, writing
from infra.errors import UserError
from infra.ledger import append_within
from models.registry import ModelVersion
from monitoring import evidence
from monitoring.blocks.cutting import Block, block_seconds
from monitoring.blocks.following import RETAINED, settings_of
from monitoring.blocks.judging import begins_after, begun_anew, rules_of, with_words, without_block_evidence
from monitoring.blocks.rows import BlockChanges, drop_samples, load_blocks, write_blocks
from monitoring.evidence_records import BLOCKS, LANES
from monitoring.forgetting.normals import rows_key
from monitoring.reference.profile import ReferenceProfile, load_profile
from monitoring.watching.gathering import evidence_per_quarter
from monitoring.watching.new_normal import fitted, usable
from monitoring.watching.place import WatchPlace
from monitoring.watching.state import WatchState, load_state, store_state

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Word:
    """
    What a person's word came to.

    Attributes:
        kind: "accepted as normal" or "resolved".
        since: From when on the rows count, or are left out.
        rows: Predictions that the new profile was fitted from; 0 where none was.
        labelled: Those of them whose truth a label tells.
        alarms: Open alarms that count as acted on now, as "lane/detector".
        profile_key: Of the profile from now on.
        profile_before: Where the one of before lies.
    """

    kind: str
    version: int
    since: datetime
    rows: int
    labelled: int
    alarms: tuple[str, ...]
    profile_key: str
    profile_before: str


def accept_as_normal(place: WatchPlace, why: str, actor: str) -> Word:
    """
    Fit a new profile from what came since the change, and begin the evidence anew; what the judge set said stays.

    Raises:
        UserError: there is nothing to accept yet: no champion with a profile, no look, too few usable predictions since
            the change, or pictures whose content is lost.
    """
    champion, profile, before = _watched(place, why)
    alarms = _open_alarms(place)
    since = _changed_at(place, alarms)
    sample = usable(place, profile, since)
    accepted = fitted(place, profile, sample)
    number = before.sequence + 1
    key = f"models/{place.name}/{champion.version}/reference-accepted-{number}.npz"
    place.objects.put(key, accepted.to_bytes())
    place.objects.put(rows_key(key), json.dumps(sample.ids).encode())
    rules, blocks = settings_of(place), load_blocks(place.engine, place.name)
    lane = begun_anew(
        before.blocks,
        blocks,
        version=champion.version,
        seconds=block_seconds(place.settings.monitor.block),
        changed=bool(alarms),
        retained=RETAINED,
    )
    if alarms:
        first = next((block.number for block in blocks if block.started_at >= since), lane.newest + 1)
        # A block in which both normals meet is one of neither.
        lane = begins_after(replace(lane, pool_from=max(lane.pool_from, first)), since)
        waiting = [block for block in blocks if block.number >= lane.pool_from and block.sample_key]
        lane = replace(lane, to_measure=len(waiting[-RETAINED:]))
    state = _begun(place, before, accepted, f"{actor} accepted the present as normal: {why}")
    assert state.evidence is not None, "it was begun"
    moved = without_block_evidence(state.evidence, rules_of(lane, rules), lane.newest)
    state = replace(state, evidence=with_words(moved, lane, blocks, rules), blocks=lane)
    word = Word(
        "accepted as normal",
        champion.version,
        since,
        len(sample),
        sum(truth != "" for truth in accepted.truth),
        tuple(f"{row['lane']}/{row['detector']}" for row in alarms),
        key,
        _profile_key(place, champion.version),
    )
    try:
        _write(place, state, word, why, actor, BlockChanges())
    except UserError:
        drop_samples(place.objects, (key, rows_key(key)))
        raise
    return word


def resolve(place: WatchPlace, why: str, actor: str) -> Word:
    """
    Begin the evidence anew beside the same profile: what raised the alarms has been put right.

    Blocks since the change leave the pool, and the one that is open is never closed: they show what was wrong.

    Raises:
        UserError: no champion with a profile, no look, or no open alarm.
    """
    champion, profile, before = _watched(place, why)
    alarms = _open_alarms(place)
    if not alarms:
        raise UserError("No alarm is open, so there is nothing to resolve. `kedge status` shows what is.")
    since = _changed_at(place, alarms)
    blocks = load_blocks(place.engine, place.name)
    spoilt = [block for block in blocks if block.ended_at > since]
    changes = BlockChanges(
        tuple(_left_out(block) for block in spoilt), (), tuple(block.sample_key for block in spoilt if block.sample_key)
    )
    # The block that is still open shows what was wrong, too.
    rules, lane = settings_of(place), begins_after(before.blocks, _newest_at(place))
    state = _begun(place, before, profile, f"{actor} resolved the alarms: {why}")
    assert state.evidence is not None, "it was begun"
    left = [block for block in blocks if block not in spoilt]
    moved = without_block_evidence(state.evidence, rules_of(lane, rules), lane.newest)
    state = replace(state, evidence=with_words(moved, lane, left, rules), blocks=lane)
    key = _profile_key(place, champion.version)
    names = tuple(f"{row['lane']}/{row['detector']}" for row in alarms)
    word = Word("resolved", champion.version, since, 0, 0, names, key, key)
    _write(place, state, word, why, actor, changes)
    return word


def _watched(place: WatchPlace, why: str) -> tuple[ModelVersion, ReferenceProfile, WatchState]:
    if not why.strip():
        raise UserError("Say why, for the ledger: an alarm that is put aside without a reason helps nobody.")
    champion = place.registry.champion()
    if champion is None:
        raise UserError("There is no champion yet, so there is nothing to accept. `kedge train` makes the first.")
    profile = load_profile(place.engine, place.objects, place.name, champion.version)
    before = load_state(place.engine, place.name)
    if profile is None:
        raise UserError(
            f"{champion.title} has no reference profile, so drift is not watched; `kedge retrain` makes one."
        )
    if before.evidence is None or before.evidence.model_version != champion.version:
        raise UserError(f"{champion.title} has not been looked at yet: run `kedge watch` first.")
    return champion, profile, before


def _open_alarms(place: WatchPlace) -> list[Mapping[str, Any]]:
    table = schema.alarms
    query = sa.select(table).where(table.c.name == place.name, table.c.acted_on_at.is_(None), table.c.lane.in_(LANES))
    with reading(place.engine) as connection:
        return [dict(row) for row in connection.execute(query.order_by(table.c.at)).mappings()]


def _changed_at(place: WatchPlace, alarms: Sequence[Mapping[str, Any]]) -> datetime:
    """When the change began: as the open alarms say; without any, as many blocks back as burn-in takes."""
    told = [
        datetime.fromisoformat(text) if isinstance(text, str) else row["at"]
        for row in alarms
        for text in (row["facts"].get("changed_since" if row["lane"] == BLOCKS else "prediction_at"),)
    ]
    if told:
        return min(told)
    monitor = place.settings.monitor
    return _newest_at(place) - timedelta(seconds=block_seconds(monitor.block) * monitor.burn_in_blocks)


def _newest_at(place: WatchPlace) -> datetime:
    """The time of the newest prediction; a clock that runs ahead counts as now."""
    newest = place.log.recent(1)
    return min(now(), newest[0].at) if newest else now()


def _begun(place: WatchPlace, before: WatchState, profile: ReferenceProfile, reason: str) -> WatchState:
    assert before.evidence is not None, "the champion was looked at"
    fresh = evidence.begin(
        model_version=profile.version,
        reason=reason,
        judged_errors=profile.judged_errors,
        settings=settings_of(place),
        units_per_quarter=evidence_per_quarter(place),
        last_number=before.evidence.last_number,
    )
    blank = WatchState()
    return replace(
        before,
        sequence=before.sequence + 1,
        evidence=fresh,
        predictions=0,
        look=blank.look,
        labels=blank.labels,
        alarmed=(),
        windows_before=before.windows,
    )


def _left_out(block: Block) -> Block:
    """A block that no pool takes any more."""
    return replace(block, measured=replace(block.measured, epoch=-1), sample_key="")


def _profile_key(place: WatchPlace, version: int) -> str:
    table = schema.profiles
    query = sa.select(table.c.object_key).where(table.c.name == place.name, table.c.version == version)
    with reading(place.engine) as connection:
        return str(connection.execute(query).scalar())


def _write(place: WatchPlace, state: WatchState, word: Word, why: str, actor: str, changes: BlockChanges) -> None:
    alarms, profiles = schema.alarms, schema.profiles
    mine = (profiles.c.name == place.name) & (profiles.c.version == word.version)
    raised = (alarms.c.name == place.name) & alarms.c.acted_on_at.is_(None) & alarms.c.lane.in_(LANES)
    facts = {
        "version": word.version,
        "reason": why,
        "since": word.since.isoformat(),
        "rows": word.rows,
        "alarms": list(word.alarms),
        "profile": word.profile_key,
        "profile_before": word.profile_before,
    }
    with writing(place.engine) as connection:
        if not store_state(connection, place.name, state):
            raise UserError("The watcher looked in the same moment, and nothing was changed. Run the command again.")
        if word.profile_key != word.profile_before:
            moved = {"object_key": word.profile_key, "images": word.rows, "accepted_at": now()}
            connection.execute(profiles.update().where(mine).values(**moved))
        write_blocks(connection, place.name, changes)
        connection.execute(alarms.update().where(raised).values(acted_on_at=now()))
        append_within(connection, "watch", word.kind, facts, actor)
    drop_samples(place.objects, changes.dropped)
    _log.info("%s by %s: %s", word.kind, actor, why)
