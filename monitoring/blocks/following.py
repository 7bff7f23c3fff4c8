"""
The block lane's part of a look: blocks that are over are closed, measured, ranked and bet on.

Gather, decide, act: samples go to the object store at once, under keys that a repeated look makes again; rows and state
wait for the look's own transaction. Whatever is long is done a block at a time, and no longer than a tick may last.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime, timedelta

from infra.clock import new_id
from models.registry import ModelVersion
from monitoring import evidence
from monitoring.blocks.cutting import (
    LARGE,
    Block,
    Calendar,
    Measured,
    Span,
    block_seconds,
    comparable,
    completed,
)
from monitoring.blocks.judging import (
    BlockState,
    Judged,
    begun_anew,
    changed_at,
    doubled,
    judge,
    rules_of,
    standing,
    with_words,
    without_block_evidence,
)
from monitoring.blocks.measuring import Bench
from monitoring.blocks.reading import arrived, count_within, read_sample
from monitoring.blocks.rows import BlockChanges, load_blocks
from monitoring.evidence_records import DetectorEvidence, EvidenceSettings
from monitoring.reference.profile import ReferenceProfile
from monitoring.watching.counting import Alarm, Counted
from monitoring.watching.place import WatchPlace
from monitoring.watching.state import WatchState

RETAINED = 60
# A tick must never take minutes: it goes on with one more block until this is used up.
_LONGEST_S = 20.0


@dataclass(frozen=True)
class Followed:
    """
    The look with its blocks.

    Attributes:
        changes: For the look's transaction.
        newest: The newest block that the champion has been measured on; None before the first.
    """

    counted: Counted
    changes: BlockChanges
    newest: Block | None


@dataclass
class _Blocks:
    """All blocks of the model, and what becomes of them during this look."""

    all: list[Block]
    written: dict[int, Block] = field(default_factory=dict)
    gone: list[int] = field(default_factory=list)
    dropped: list[str] = field(default_factory=list)

    def put(self, block: Block) -> None:
        """Add the block, or put it in the place of the one with its number."""
        before = next((one for one in self.all if one.number == block.number), None)
        if before is not None and before.sample_key not in ("", block.sample_key):
            self.dropped.append(before.sample_key)
        self.all = sorted([*(one for one in self.all if one.number != block.number), block], key=_number)
        self.written[block.number] = block

    def remove(self, block: Block) -> None:
        self.all = [one for one in self.all if one.number != block.number]
        self.written.pop(block.number, None)
        self.gone.append(block.number)
        self.dropped.append(block.sample_key)

    def changes(self) -> BlockChanges:
        return BlockChanges(tuple(self.written.values()), tuple(self.gone), tuple(key for key in self.dropped if key))


def follow_blocks(
    place: WatchPlace,
    champion: ModelVersion,
    profile: ReferenceProfile,
    before: WatchState,
    counted: Counted,
    at: datetime,
) -> Followed:
    """
    The look with its blocks closed, measured and bet on.

    Args:
        place: Where blocks are read and samples are kept.
        champion: Who is watched.
        profile: The champion's.
        before: The state that the look started from.
        counted: The look so far.
        at: The time of the look; what claims to be later is not looked at.
    """
    state = counted.state
    assert state.evidence is not None, "the evidence was begun"
    rules, lane = settings_of(place), state.blocks
    seconds = block_seconds(place.settings.monitor.block)
    resets = (lane.version, lane.seconds) != (champion.version, seconds)
    over = not lane.until or at >= datetime.fromisoformat(lane.until) + timedelta(seconds=lane.seconds * lane.units)
    blocks = _Blocks(load_blocks(place.engine, place.name))
    if not resets and not lane.to_measure and not over:
        return Followed(counted, BlockChanges(), _newest(blocks.all, lane))
    moved = state.evidence
    if resets:
        changed = before.evidence is not None and standing(before.evidence.detectors)
        lane = begun_anew(
            lane, blocks.all, version=champion.version, seconds=seconds, changed=changed, retained=RETAINED
        )
        moved = without_block_evidence(moved, rules_of(lane, rules), lane.newest)
    bench = Bench(place, champion, profile)
    until = time.monotonic() + _LONGEST_S
    lane = _measure_anew(bench, blocks, lane, until)
    if not lane.to_measure:
        lane = _close(bench, blocks, lane, at, until)
    judged = judge(moved, lane, blocks.all, rules)
    _write_ranks(blocks, judged)
    if judged.doubles:
        judged = _double(bench, blocks, judged, rules)
    _keep_the_newest(blocks)
    said = evidence.describe(judged.evidence, rules)
    said = replace(said, new_alarms=(*counted.evidence.new_alarms, *judged.alarms))
    counted = replace(counted, state=replace(state, evidence=judged.evidence, blocks=judged.lane), evidence=said)
    return Followed(_with_alarms(counted, judged, blocks.all, at), blocks.changes(), _newest(blocks.all, judged.lane))


def settings_of(place: WatchPlace) -> EvidenceSettings:
    """What the person in charge decided about evidence."""
    monitor = place.settings.monitor
    return EvidenceSettings(
        monitor.false_alarms_per_quarter, monitor.harm_tolerance, burn_in_blocks=monitor.burn_in_blocks
    )


def _measure_anew(bench: Bench, blocks: _Blocks, lane: BlockState, until: float) -> BlockState:
    """Blocks of an earlier reference beside the present one, the oldest first; what is left waits for the next look."""
    if not lane.to_measure:
        return lane
    waiting = [
        block
        for block in blocks.all
        if block.number >= lane.pool_from and block.measured.epoch != lane.epoch and block.sample_key
    ][-RETAINED:]
    left, not_kept = len(waiting), lane.not_kept
    for block in waiting:
        if left < len(waiting) and time.monotonic() > until:
            break
        found = bench.measured_anew(block, lane.epoch)
        blocks.put(replace(block, sample_key="") if found is None else found)
        not_kept += 0 if found is None else found.measured.not_kept
        left -= 1
    note = lane.note
    if "runtime" in vars(bench) and bench.runtime is None:
        note = "the champion could not be run on earlier images, so outputs and embedding begin anew"
    return replace(lane, to_measure=left, not_kept=not_kept, note=note)


def _close(bench: Bench, blocks: _Blocks, lane: BlockState, at: datetime, until: float) -> BlockState:
    """Blocks that are over, each with its sample; the oldest first, and as many as there is time for."""
    log, version = bench.place.log, bench.champion.version
    since = datetime.fromisoformat(lane.until) if lane.until else None
    calendar = Calendar.after(since, lane.seconds * lane.units)
    seen = arrived(log, version, since, calendar, at)
    if seen.newest is None or not seen.counts:
        return lane
    began = bench.place.registry.champions.history()[-1].changed_at
    spans = completed(seen.counts, calendar, seen.newest, began)
    late = lane.late + (_late(bench, blocks.all) if spans else 0)
    lane = replace(lane, until=lane.until or calendar.start_of(min(seen.counts)).isoformat(), late=late)
    for done, span in enumerate(spans):
        if done and time.monotonic() > until:
            break
        sample = read_sample(log, bench.profile, span, LARGE)
        if sample is None:
            continue
        number = lane.newest + 1
        block = Block(number, span.start, span.end, span.predictions, version, Measured(lane.epoch, {}), "")
        blocks.put(bench.stored(block, sample, lane.epoch))
        lane = replace(lane, newest=number, until=span.end.isoformat())
    return lane


def _late(bench: Bench, blocks: Sequence[Block]) -> int:
    """Predictions of the newest block that came after it was closed."""
    mine = [block for block in blocks if block.model_version == bench.champion.version]
    if not mine:
        return 0
    newest = mine[-1]
    span = Span(newest.started_at, newest.ended_at, newest.predictions)
    return max(0, count_within(bench.place.log, newest.model_version, span) - newest.predictions)


def _write_ranks(blocks: _Blocks, judged: Judged) -> None:
    for block in [one for one in blocks.all if one.number in judged.ranks]:
        blocks.put(replace(block, measured=replace(block.measured, ranks=judged.ranks[block.number])))


def _double(bench: Bench, blocks: _Blocks, judged: Judged, rules: EvidenceSettings) -> Judged:
    """Blocks merged in pairs: each pair is the smallest hashes of both, measured as one; the lane begins anew."""
    lane = judged.lane
    pool = [block for block in comparable(blocks.all, lane.pool_from, lane.epoch) if block.sample_key]
    # From the newest back, so that the next block follows a whole pair.
    pairs = [(pool[place - 1], pool[place]) for place in range(len(pool) - 1, 0, -2)]
    doubled_lane = doubled(lane, 0)
    for first, second in reversed(pairs):
        halves = [bench.sample_of(half) for half in (first, second)]
        if halves[0] is None or halves[1] is None:
            continue
        joined = replace(second, started_at=first.started_at, predictions=first.predictions + second.predictions)
        blocks.put(bench.stored(joined, halves[0].merged(halves[1], LARGE), doubled_lane.epoch))
        blocks.remove(first)
    state = without_block_evidence(judged.evidence, rules_of(doubled_lane, rules), lane.newest)
    state = with_words(state, doubled_lane, blocks.all, rules)
    return replace(judged, evidence=state, lane=doubled_lane)


def _keep_the_newest(blocks: _Blocks) -> None:
    """Samples are kept of the newest blocks alone; of the others, their distances."""
    for block in [one for one in blocks.all if one.sample_key][:-RETAINED]:
        blocks.put(replace(block, sample_key=""))


def _with_alarms(counted: Counted, judged: Judged, blocks: Sequence[Block], at: datetime) -> Counted:
    state = counted.state
    assert state.evidence is not None, "the evidence was begun"
    facts_of = _facts_with(state.evidence.reset_reason, judged, blocks)
    raised = [
        Alarm(new_id(at), at, one.lane, one.detector, state.evidence.model_version, state.windows + 1, facts_of(one))
        for one in judged.alarms
    ]
    keys = {*state.alarmed, *(f"{alarm.lane}/{alarm.detector}" for alarm in raised)}
    return replace(counted, state=replace(state, alarmed=tuple(sorted(keys))), alarms=(*counted.alarms, *raised))


def _facts_with(
    reset_reason: str, judged: Judged, blocks: Sequence[Block]
) -> Callable[[DetectorEvidence], dict[str, object]]:
    pool = comparable(blocks, judged.lane.pool_from, judged.lane.epoch)
    starts = {block.number: block.started_at for block in pool}
    since = changed_at(pool)

    def facts(one: DetectorEvidence) -> dict[str, object]:
        known = asdict(one) | {"evidence_since": reset_reason}
        return known if since is None else known | {"changed_since": starts[since].isoformat(), "changed_block": since}

    return facts


def _newest(blocks: Sequence[Block], lane: BlockState) -> Block | None:
    mine = comparable(blocks, lane.pool_from, lane.epoch)
    return mine[-1] if mine else None


def _number(block: Block) -> int:
    return block.number
