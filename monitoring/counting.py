"""Counting what was gathered: evidence moves on, whole windows close, alarms are raised. Pure."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

from infra.clock import new_id
from infra.settings import Settings
from models.prediction import Prediction
from monitoring import evidence
from monitoring.batch import batch_of
from monitoring.blocks import block_seconds, count_blocks
from monitoring.evidence import GROSS, HARM, Evidence, EvidenceSettings
from monitoring.faults import LEAST_LOOKED_AT, look
from monitoring.gathering import Gathered
from monitoring.observations import gross_observations, harm_observations
from monitoring.prediction_log import Cursor, LogSlice
from monitoring.reference import ReferenceProfile
from monitoring.signals import drift_report
from monitoring.watch_state import WatchState
from monitoring.windows import FULL, SUCCEEDED, Window, summarise

# Half of what one look reads (gathering), for the other half may be the champion's.
_MOST_LEFT_OVER = 50_000


@dataclass(frozen=True)
class Alarm:
    """A detector that has reached its threshold; `window_sequence` is the window it happened in, closed or not."""

    id: str
    at: datetime
    lane: str
    detector: str
    model_version: int
    window_sequence: int
    facts: dict[str, Any]


@dataclass(frozen=True)
class Counted:
    """The state after the look, what it says, and the windows and alarms of this look."""

    state: WatchState
    evidence: Evidence
    windows: tuple[Window, ...]
    alarms: tuple[Alarm, ...]


def count(gathered: Gathered, settings: Settings, at: datetime) -> Counted:
    """Count every new label and prediction once; `at` is the time of the look."""
    rules = EvidenceSettings(settings.monitor.false_alarms_per_quarter, settings.monitor.harm_tolerance)
    state = _begun(gathered, rules)
    counted = _count_labels(gathered, state, settings, rules, at)
    size = settings.monitor.window
    stuck = not _window_ends(gathered, size) and _is_stuck(gathered, size)
    for rows, fresh, whole in _segments(gathered, size):
        if whole or stuck:
            # The predecessor's last predictions make a window of their own, closed before the first whole one.
            counted = _close_leftovers(gathered, counted, rows, settings)
        counted = _count_predictions(gathered, counted, fresh, settings, rules, at)
        if whole:
            own = [row for row in rows if row.model_version == gathered.champion.version]
            counted = _close(counted, gathered.profile, own, settings, counted.evidence, FULL)
    return replace(counted, state=_moved_on(gathered, counted.state, settings))


def _begun(gathered: Gathered, rules: EvidenceSettings) -> WatchState:
    """The state, begun anew where the champion is another one than it was."""
    state, champion = gathered.state, gathered.champion
    before = None if state.evidence is None else state.evidence.model_version
    if before == champion.version:
        return state
    fresh = evidence.begin(
        model_version=champion.version,
        reason="first look" if before is None else f"version {champion.version} followed version {before}",
        judged_errors=gathered.profile.judged_errors,
        settings=rules,
        units_per_quarter=gathered.units_per_quarter,
        last_number={} if state.evidence is None else state.evidence.last_number,
    )
    blank = WatchState()
    return replace(
        state, evidence=fresh, predictions=0, block=blank.block, look=blank.look, labels=blank.labels, alarmed=()
    )


def _count_labels(
    gathered: Gathered, state: WatchState, settings: Settings, rules: EvidenceSettings, at: datetime
) -> Counted:
    assert state.evidence is not None, "the evidence was begun"
    labels, moved = gathered.labels, state.evidence
    observations = []
    # Volunteered feedback comes mostly for errors: it trains, but it does not measure.
    if settings.monitor.feedback_is_random:
        number = moved.last_number.get(HARM, 0) + 1
        observations = harm_observations(gathered.profile, labels.pairs, number, settings.data.subgroups)
    moved, said = evidence.update_all(moved, observations, rules)
    state = replace(state, evidence=moved, labels_until=labels.cursor, waiting=labels.waiting)
    return _with_alarms(Counted(state, said, (), ()), {}, at)


def _count_predictions(
    gathered: Gathered,
    counted: Counted,
    rows: Sequence[Prediction],
    settings: Settings,
    rules: EvidenceSettings,
    at: datetime,
) -> Counted:
    state = counted.state
    if not rows:
        return counted
    assert state.evidence is not None, "the evidence was begun"
    number = state.evidence.last_number.get(GROSS, 0) + 1
    observations = gross_observations(gathered.profile, rows, number, settings.data.group)
    moved, said = evidence.update_all(state.evidence, [one for _, one in observations], rules)
    seconds = block_seconds(settings.monitor.block)
    block, blocks = count_blocks(state.block, [row.at for row in rows], seconds, moved.blocks)
    moved = replace(moved, blocks=blocks)
    said = replace(said, block_lane=evidence.block_lane(moved, rules))
    state = replace(state, evidence=moved, predictions=state.predictions + len(rows), block=block)
    last_row = {one.number: rows[place] for place, one in observations}
    return _with_alarms(replace(counted, state=state, evidence=said), last_row, at)


def _with_alarms(counted: Counted, row_of: dict[int, Prediction], at: datetime) -> Counted:
    """An alarm for each detector that has just reached its threshold, in the window that is open now."""
    state = counted.state
    assert state.evidence is not None, "the evidence was begun"
    raised = []
    for one in counted.evidence.new_alarms:
        facts = asdict(one) | {"evidence_since": state.evidence.reset_reason}
        row = row_of.get(one.alarmed_at or 0)
        if row is not None:
            facts["prediction_at"] = row.at.isoformat()
        raised.append(
            Alarm(new_id(at), at, one.lane, one.detector, state.evidence.model_version, state.windows + 1, facts)
        )
    keys = {*state.alarmed, *(f"{alarm.lane}/{alarm.detector}" for alarm in raised)}
    return replace(counted, state=replace(state, alarmed=tuple(sorted(keys))), alarms=(*counted.alarms, *raised))


def _segments(gathered: Gathered, size: int) -> list[tuple[list[Prediction], list[Prediction], bool]]:
    """The slice cut after each whole window: all rows, the champion's rows not seen before, and whether it is whole."""
    is_new = _unseen(gathered.slice, gathered.state.seen_until)
    ends = _window_ends(gathered, size)
    found, start = [], 0
    for end in (*ends, len(gathered.slice.rows)):
        rows = list(gathered.slice.rows[start:end])
        fresh = [row for row, new in zip(rows, is_new[start:end], strict=True) if new and _is_own(gathered, row)]
        found.append((rows, fresh, end in ends and start != end))
        start = end
    return found


def _window_ends(gathered: Gathered, size: int) -> list[int]:
    """After which rows of the slice the champion has completed a window."""
    ends, seen = [], 0
    for place, row in enumerate(gathered.slice.rows, start=1):
        seen += _is_own(gathered, row)
        if seen == size:
            ends.append(place)
            seen = 0
    return ends


def _unseen(found: LogSlice, seen_until: Cursor) -> list[bool]:
    places = seen_until.places
    return [(place.segment, place.position) > places.get(place.spool, (-1, -1)) for place in found.places]


def _is_own(gathered: Gathered, row: Prediction) -> bool:
    return row.model_version == gathered.champion.version


def _is_stuck(gathered: Gathered, size: int) -> bool:
    """Whether so many predictions of predecessors are in the way that the champion's next might never be read."""
    others = sum(not _is_own(gathered, row) for row in gathered.slice.rows)
    return others >= max(_MOST_LEFT_OVER, size)


def _close_leftovers(gathered: Gathered, counted: Counted, rows: Sequence[Prediction], settings: Settings) -> Counted:
    for version, profile in sorted(gathered.predecessors.items()):
        mine = [row for row in rows if row.model_version == version]
        if len(mine) >= LEAST_LOOKED_AT:
            counted = _close(counted, profile, mine, settings, Evidence((), (), ""), SUCCEEDED)
    return counted


def _close(
    counted: Counted,
    profile: ReferenceProfile,
    rows: Sequence[Prediction],
    settings: Settings,
    said: Evidence,
    closed_because: str,
) -> Counted:
    summary = summarise(
        rows,
        drift_report(profile, batch_of(rows, len(profile.classes), profile.embedding_size)),
        subgroups=settings.data.subgroups,
        evidence=said.detectors,
        block_lane=said.block_lane,
        closed_because=closed_because,
    )
    times, sequence = [row.at for row in rows], counted.state.windows + 1
    window = Window(settings.project.name, sequence, profile.version, min(times), max(times), len(rows), summary)
    return replace(counted, state=replace(counted.state, windows=sequence), windows=(*counted.windows, window))


def _moved_on(gathered: Gathered, state: WatchState, settings: Settings) -> WatchState:
    """The cursors after the slice, and a fresh look at the newest predictions where there are enough."""
    found, size = gathered.slice, settings.monitor.window
    ends, until = _window_ends(gathered, size), state.windows_until
    if ends:
        until = found.cursor_after(ends[-1])
    elif _is_stuck(gathered, size):
        until = found.cursor
    newest = [row for row in found.rows if _is_own(gathered, row)][-size:]
    if len(newest) >= LEAST_LOOKED_AT:
        state = replace(state, look=look(gathered.profile, newest, settings.data.source))
    return replace(
        state,
        windows_until=until,
        seen_until=found.cursor,
    )
