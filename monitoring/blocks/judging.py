"""What blocks come to: each is ranked among its pool, and the rank is bet on. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

import numpy as np

from monitoring import evidence
from monitoring.blocks.change_point import change_point, log_e_of_ranks
from monitoring.blocks.cutting import LARGE, SMALL, Block, Calendar, block_words, comparable
from monitoring.blocks.lane import (
    BlockRules,
    autocorrelation,
    pool_of,
    rank,
    resembles_the_one_before,
    rules_for,
    tie_break,
)
from monitoring.evidence import block_detectors
from monitoring.evidence_records import (
    BLOCK_DETECTORS,
    BLOCKS,
    CHANNELS,
    Detector,
    DetectorEvidence,
    EvidenceSettings,
    EvidenceState,
    Observation,
)

_WATCHED = "gross change and labelled harm are watched"
_MOST_UNITS = 8


@dataclass(frozen=True)
class BlockState:
    """
    Where the block lane stands.

    Attributes:
        version: The champion that it watches; 0 before the first.
        epoch: Counts the references: a new champion, or a new normal, begins a new one.
        seconds: Length of a unit of the calendar, as the settings had it.
        units: Units in a block; doubled where a block resembles the one before.
        newest: Number of the newest block.
        until: The moment (ISO 8601, UTC) up to which predictions lie in blocks; "" before the first.
        pool_from: Number of the first block that may stand in a pool.
        to_measure: Blocks that still have to be measured beside the present reference.
        tolerance_set: Whether burn-in has shown what share of atypical predictions is benign.
        late: Predictions that came after their block was closed.
        not_kept: Images that the champion could not be shown, because they are not kept any more.
        note: In words, what went beside the usual.
    """

    version: int = 0
    epoch: int = 0
    seconds: int = 0
    units: int = 1
    newest: int = 0
    until: str = ""
    pool_from: int = 1
    to_measure: int = 0
    tolerance_set: bool = False
    late: int = 0
    not_kept: int = 0
    note: str = ""


@dataclass(frozen=True)
class Judged:
    """
    The state after some blocks.

    Attributes:
        ranks: Number of a block to its ranks by detector.
        alarms: Detectors that have reached their threshold now.
        doubles: Whether blocks have to be merged in pairs before anything more is said.
    """

    evidence: EvidenceState
    lane: BlockState
    ranks: Mapping[int, Mapping[str, float]]
    alarms: tuple[DetectorEvidence, ...]
    doubles: bool = False


def rules_of(lane: BlockState, settings: EvidenceSettings) -> BlockRules:
    """The rules for blocks as long as they are now."""
    return rules_for(lane.seconds * lane.units, settings.burn_in_blocks)


def begun_anew(
    lane: BlockState, blocks: Sequence[Block], *, version: int, seconds: int, changed: bool, retained: int
) -> BlockState:
    """
    The lane at a reset: its blocks stay in the pool as far as they can be measured beside the new reference.

    Args:
        lane: As it was.
        blocks: All of them, oldest first.
        version: The champion from now on.
        seconds: Length of a unit of the calendar.
        changed: Whether an alarm stands: then the blocks before the estimated change point leave every pool.
        retained: How many of the newest blocks are measured again.
    """
    pool_from = lane.pool_from
    if lane.seconds not in (0, seconds):
        # Blocks of another length cannot be compared.
        return BlockState(version, lane.epoch + 1, seconds, newest=lane.newest, pool_from=lane.newest + 1)
    if changed:
        pool_from = max(pool_from, changed_at(comparable(blocks, pool_from, lane.epoch)) or pool_from)
    kept = [block for block in blocks if block.number >= pool_from and block.sample_key][-retained:]
    return BlockState(
        version=version,
        epoch=lane.epoch + 1,
        seconds=seconds,
        units=lane.units,
        newest=lane.newest,
        until=lane.until,
        pool_from=pool_from,
        to_measure=len(kept),
    )


def begins_after(lane: BlockState, moment: datetime) -> BlockState:
    """The lane whose next block begins with the first whole unit after the moment; what came before is left out."""
    if not lane.seconds:
        return lane
    until = datetime.fromisoformat(lane.until) if lane.until else None
    if until is not None and moment <= until:
        return lane
    calendar = Calendar.after(until, lane.seconds * lane.units)
    return replace(lane, until=calendar.start_of(calendar.unit_of(moment) + 1).isoformat())


def changed_at(blocks: Sequence[Block]) -> int | None:
    """The number of the block with which the clearest change of any detector began; None where none is seen."""
    found: list[tuple[float, int]] = []
    for detector in BLOCK_DETECTORS:
        point = change_point(log_e_of_ranks([block.measured.ranks.get(detector) for block in blocks]))
        if point is not None:
            found.append((point[1], blocks[point[0]].number))
    return max(found)[1] if found else None


def judge(state: EvidenceState, lane: BlockState, blocks: Sequence[Block], settings: EvidenceSettings) -> Judged:
    """
    Bet on every block that was not bet on yet, one after the other, and say how the lane stands.

    Whether blocks come one by one or many in one look makes no difference. A block that was judged before changes
    nothing.

    blocks: all of them, oldest first.
    """
    rules = rules_of(lane, settings)
    state = with_block_detectors(state, rules)
    pool = comparable(blocks, lane.pool_from, lane.epoch)
    known = sum(1 for block in pool if block.number <= state.last_number.get(BLOCKS, 0))
    state, lane = _with_tolerances(state, lane, pool[:known], settings)
    ranks: dict[int, Mapping[str, float]] = {}
    alarms: list[DetectorEvidence] = []
    alike: Mapping[str, float] = {}
    for place in range(known, len(pool)):
        block = pool[place]
        ranks[block.number] = ranks_of(block, pool[:place], lane, rules)
        observation = Observation(BLOCKS, block.number, tuple(ranks[block.number].items()))
        state, said = evidence.update(state, observation, settings)
        alarms += [one for one in said.new_alarms if one.lane == BLOCKS]
        state, lane = _with_tolerances(state, lane, pool[: place + 1], settings)
        alike = _alike(state, pool[: place + 1], rules, settings) or alike
        if alike and _may_double(lane):
            break
    doubles = bool(alike) and _may_double(lane)
    if alike:
        lane = replace(lane, note=_likeness(alike, lane, doubled=doubles))
    return Judged(with_words(state, lane, blocks, settings), lane, ranks, tuple(alarms), doubles)


def _may_double(lane: BlockState) -> bool:
    return lane.units * 2 <= _MOST_UNITS


def ranks_of(block: Block, earlier: Sequence[Block], lane: BlockState, rules: BlockRules) -> dict[str, float]:
    """The rank of each detector's distance among its pool; a detector whose pool still burns in is missing."""
    found = {}
    for detector in BLOCK_DETECTORS:
        known = [one for one in earlier if detector in one.measured.distances.get(SMALL, {})]
        place = pool_of(len(known) + 1, rules)
        if place is None or detector not in block.measured.distances.get(SMALL, {}):
            continue
        pool = known[place]
        size = LARGE if all(detector in one.measured.distances.get(LARGE, {}) for one in (block, *pool)) else SMALL
        values = [one.measured.distances[size][detector] for one in pool]
        own = block.measured.distances[size][detector]
        found[detector] = float(rank(own, np.array(values), tie_break(lane.version, detector, block.number)))
    return found


def doubled(lane: BlockState, left: int) -> BlockState:
    """The lane once its blocks were merged in pairs, of which `left` are there."""
    return replace(lane, units=2 * lane.units, epoch=lane.epoch + 1, to_measure=left, tolerance_set=False)


def without_block_evidence(state: EvidenceState, rules: BlockRules, newest: int) -> EvidenceState:
    """The state with the block lane begun anew; blocks up to `newest` are not bet on any more."""
    others = tuple(detector for detector in state.detectors if detector.lane != BLOCKS)
    return replace(
        state,
        detectors=(*others, *block_detectors()),
        units_per_quarter={**state.units_per_quarter, BLOCKS: rules.per_quarter},
        last_number={**state.last_number, BLOCKS: newest},
    )


def with_block_detectors(state: EvidenceState, rules: BlockRules) -> EvidenceState:
    """The state with the block lane in it, which one that was written before there was one lacks."""
    quarter = {**state.units_per_quarter, BLOCKS: rules.per_quarter}
    if any(detector.lane == BLOCKS for detector in state.detectors):
        return replace(state, units_per_quarter=quarter)
    return replace(state, units_per_quarter=quarter, detectors=(*state.detectors, *block_detectors()))


def with_words(
    state: EvidenceState, lane: BlockState, blocks: Sequence[Block], settings: EvidenceSettings
) -> EvidenceState:
    """The state with what the lane can do, in words."""
    pool, rules = comparable(blocks, lane.pool_from, lane.epoch), rules_of(lane, settings)
    length = block_words(lane.seconds * lane.units)
    ready = {
        detector: sum(1 for block in pool if detector in block.measured.distances.get(SMALL, {}))
        for detector in BLOCK_DETECTORS
    }
    done = max(ready.values())
    waiting = f"; earlier blocks still to be scored anew: {lane.to_measure}" if lane.to_measure else ""
    if done < rules.burn_in or lane.to_measure:
        words = f"calibrating: {min(done, rules.burn_in)} of {rules.burn_in} blocks of {length}{waiting}; {_WATCHED}"
    else:
        slow = [f"{detector} ({count})" for detector, count in ready.items() if count < rules.burn_in]
        behind = f"; still calibrating: {', '.join(slow)}" if slow else ""
        words = f"watching: each block of {length} is ranked among earlier ones, {done} so far{behind}"
    words += f"; {lane.note}" if lane.note else ""
    words += f"; {lane.late:,} predictions came after their block was closed and are left out" if lane.late else ""
    words += (
        f"; {lane.not_kept:,} images of earlier blocks are not kept any more and were skipped" if lane.not_kept else ""
    )
    return replace(state, blocks=done, block_words=words)


def _with_tolerances(
    state: EvidenceState, lane: BlockState, pool: Sequence[Block], settings: EvidenceSettings
) -> tuple[EvidenceState, BlockState]:
    """Once burn-in has ended, the gross lane tolerates what its blocks have shown to be benign."""
    if lane.tolerance_set or lane.to_measure or len(pool) < rules_of(lane, settings).burn_in:
        return state, lane
    shares = {}
    for channel in CHANNELS:
        seen = [share for block in pool if (share := block.measured.atypical.get(channel)) is not None]
        if seen:
            shares[channel] = evidence.tolerated_share(max(seen), settings)
    return evidence.tolerate(state, shares), replace(lane, tolerance_set=True)


def _alike(
    state: EvidenceState, pool: Sequence[Block], rules: BlockRules, settings: EvidenceSettings
) -> dict[str, float]:
    """
    Detectors whose blocks resemble the one before, looked for whenever burn-in's number of blocks has come again.

    A real change makes blocks alike, too: it is looked for in the pool alone, which the newest blocks are not in, and
    not while the evidence of a change is half way to an alarm, nor while an alarm stands, which it would take away.
    """
    if len(pool) % rules.burn_in:
        return {}
    said = [one for one in evidence.describe(state, settings).detectors if one.lane == BLOCKS]
    if any(one.alarmed_at is not None or one.log10_evidence > one.log10_threshold / 2 for one in said):
        return {}
    looked_at, found = pool[pool_of(len(pool) + 1, rules) or slice(0)], {}
    for detector in BLOCK_DETECTORS:
        values = [block.measured.distances.get(SMALL, {}).get(detector) for block in looked_at]
        known = [value for value in values if value is not None]
        if resembles_the_one_before(known):
            found[detector] = autocorrelation(known)
    return found


def _likeness(alike: Mapping[str, float], lane: BlockState, *, doubled: bool) -> str:
    detector, value = max(alike.items(), key=lambda item: item[1])
    what = f"each block resembles the one before ({detector}: correlation {value:.2f})"
    if not doubled:
        return f"{what}, which makes false alarms likelier; set monitor.block to a longer cycle"
    return f"{what}, so a block is now {block_words(2 * lane.units * lane.seconds)}"


def standing(detectors: Sequence[Detector]) -> bool:
    """Whether any detector of any lane has alarmed since the reset."""
    return any(detector.alarmed_at is not None for detector in detectors)
