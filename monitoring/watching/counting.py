"""Counting what was gathered: evidence moves on, whole windows close, alarms are raised. It only reads."""

from collections import Counter
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from typing import Any

import numpy as np
import polars as pl

from infra.clock import new_id
from infra.settings import Settings
from models.prediction import Prediction
from monitoring import evidence
from monitoring.evidence_records import GROSS, HARM, Evidence, EvidenceSettings
from monitoring.incoming.faults import LEAST_LOOKED_AT, look
from monitoring.log.rows import predictions_in
from monitoring.watching.gathering import Gathered
from monitoring.watching.new_rows import NewRows, Remembered
from monitoring.watching.observations import gross_observations, harm_observations
from monitoring.watching.state import WatchState
from monitoring.window_columns import Times, moment_of, time_span
from monitoring.windows import FULL, SUCCEEDED, Window, summarise

# So many predictions of predecessors are not kept waiting for the champion's window to become whole.
_MOST_LEFT_OVER = 50_000
# Of a larger window the newest so many are looked at one by one.
_MOST_LOOKED_AT = 5_000


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
    """
    The state after the look, what it says, and the windows and alarms of this look.

    Attributes:
        sample: Some rows of the newest of the windows, for its page; None without a window.
    """

    state: WatchState
    evidence: Evidence
    windows: tuple[Window, ...]
    alarms: tuple[Alarm, ...]
    sample: pl.DataFrame | None = None


def count(gathered: Gathered, settings: Settings, at: datetime) -> Counted:
    """
    Count every new label and prediction once; `at` is the time of the look.

    Where the slices end that the predictions are read in makes no difference to any window or evidence.
    """
    rules = EvidenceSettings(settings.monitor.false_alarms_per_quarter, settings.monitor.harm_tolerance)
    version, size = gathered.champion.version, settings.monitor.window
    counted = _count_labels(gathered, _begun(gathered, rules), settings, rules, at)
    state = counted.state
    known = Remembered(gathered.arrivals.ids_before(state.windows_until.or_later(state.recent.older)))
    newest = _Newest(version, min(size, _MOST_LOOKED_AT))
    for slice_rows in gathered.arrivals.slices():
        rest = slice_rows
        while len(rest):
            wanted = max(1, size - _open_rows(counted.state, version))
            first = known.first(rest, version, wanted)
            piece, rest = rest.head(len(first)), rest.tail(len(first))
            own = piece.where(first & piece.of(version))
            counted = _passed(counted, piece, piece.where(first))
            if _open_rows(counted.state, version) >= size:
                # The predecessor's last predictions make a window of their own, closed before the first whole one.
                counted = _close_leftovers(gathered, counted, settings, at)
                counted = _count_predictions(gathered, counted, own, settings, rules, at)
                counted = _close(gathered, counted, version, settings, counted.evidence, FULL, at)
                counted = replace(counted, state=_window_over(counted.state))
                known.forget()
            else:
                counted = _count_predictions(gathered, counted, own, settings, rules, at)
            newest.take(own)
    if not counted.windows and _is_stuck(counted.state, version, size):
        counted = _close_leftovers(gathered, counted, settings, at)
        counted = replace(counted, state=_window_over(counted.state))
    return replace(counted, state=_looked(gathered, counted.state, newest, settings))


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
        state,
        evidence=fresh,
        predictions=0,
        look=blank.look,
        labels=blank.labels,
        alarmed=(),
        windows_before=state.windows,
    )


def _count_labels(
    gathered: Gathered, state: WatchState, settings: Settings, rules: EvidenceSettings, at: datetime
) -> Counted:
    assert state.evidence is not None, "the evidence was begun"
    labels, moved = gathered.labels, state.evidence
    # Volunteered feedback comes mostly for errors: it trains, but only what the audit drew by chance measures.
    random = settings.monitor.feedback_is_random
    audited = [(one.label, one.prediction) for one in gathered.answered if one.request.in_audit]
    number, data = moved.last_number.get(HARM, 0) + 1, settings.data
    pairs = labels.pairs if random else audited
    observations = harm_observations(gathered.profile, pairs, number, data.subgroups, data.group)
    moved, said = evidence.update_all(moved, observations, rules)
    state = replace(state, evidence=moved, labels_until=labels.cursor, waiting=labels.waiting)
    return _with_alarms(Counted(state, said, (), ()), np.empty(0, "datetime64[us]"), 0, at)


def _count_predictions(
    gathered: Gathered,
    counted: Counted,
    own: NewRows,
    settings: Settings,
    rules: EvidenceSettings,
    at: datetime,
) -> Counted:
    state = counted.state
    if not len(own):
        return counted
    assert state.evidence is not None, "the evidence was begun"
    arrivals, version, number = gathered.arrivals, gathered.champion.version, state.evidence.last_number.get(GROSS, 0)
    times, profile = own.times, arrivals.profile_of(version)
    batch = arrivals.batch(own, version)
    observations = gross_observations(profile, batch, times, number + 1, settings.data.group)
    moved, said = evidence.update_all(state.evidence, [one for _, one in observations], rules)
    state = replace(state, evidence=moved, predictions=state.predictions + len(own))
    last_row = np.array([place for place, _ in observations])
    return _with_alarms(replace(counted, state=state, evidence=said), times[last_row], number + 1, at)


def _with_alarms(counted: Counted, times: Times, first_number: int, at: datetime) -> Counted:
    """
    An alarm for each detector that has just reached its threshold, in the window that is open now.

    times: of the predictions that were just counted, the first of which has `first_number` in its lane.
    """
    state = counted.state
    assert state.evidence is not None, "the evidence was begun"
    raised = []
    for one in counted.evidence.new_alarms:
        facts = asdict(one) | {"evidence_since": state.evidence.reset_reason}
        place = (one.alarmed_at or 0) - first_number
        if one.lane == GROSS and 0 <= place < len(times):
            facts["prediction_at"] = moment_of(times[place]).isoformat()
        raised.append(
            Alarm(new_id(at), at, one.lane, one.detector, state.evidence.model_version, state.windows + 1, facts)
        )
    keys = {*state.alarmed, *(f"{alarm.lane}/{alarm.detector}" for alarm in raised)}
    return replace(counted, state=replace(state, alarmed=tuple(sorted(keys))), alarms=(*counted.alarms, *raised))


def _passed(counted: Counted, rows: NewRows, first: NewRows) -> Counted:
    """The state after these rows, of which those in `first` count."""
    state, end = counted.state, rows.end
    open_rows = Counter(state.open_rows or {})
    open_rows.update(str(version) for version in first.frame["model_version"])
    recent = state.recent.after(len(rows), end)
    return replace(counted, state=replace(state, open_rows=dict(open_rows), seen_until=end, recent=recent))


def _open_rows(state: WatchState, version: int) -> int:
    return (state.open_rows or {}).get(str(version), 0)


def _window_over(state: WatchState) -> WatchState:
    return replace(state, windows_until=state.seen_until, open_rows={})


def _is_stuck(state: WatchState, version: int, size: int) -> bool:
    """Whether predictions of predecessors pile up, while the champion's next window is far from whole."""
    others = sum((state.open_rows or {}).values()) - _open_rows(state, version)
    return others >= max(_MOST_LEFT_OVER, size)


def _close_leftovers(gathered: Gathered, counted: Counted, settings: Settings, at: datetime) -> Counted:
    before = counted
    for version in sorted(int(version) for version in counted.state.open_rows or {}):
        if version != gathered.champion.version and _open_rows(counted.state, version) >= LEAST_LOOKED_AT:
            counted = _close(gathered, counted, version, settings, Evidence((), (), ""), SUCCEEDED, at)
    # Alarms of the window that is still open go with it to its new number.
    was, now_open = before.state.windows + 1, counted.state.windows + 1
    alarms = tuple(
        replace(one, window_sequence=now_open) if one.window_sequence == was else one for one in counted.alarms
    )
    return replace(counted, alarms=alarms)


def _close(
    gathered: Gathered,
    counted: Counted,
    version: int,
    settings: Settings,
    said: Evidence,
    closed_because: str,
    at: datetime,
) -> Counted:
    state = counted.state
    columns = gathered.arrivals.window(version, state.windows_until, state.seen_until, settings.monitor.report_images)
    if columns is None:
        return counted
    summary = summarise(
        columns,
        subgroups=settings.data.subgroups,
        evidence=said.detectors,
        block_lane=said.block_lane,
        closed_because=closed_because,
        at=at,
        group=settings.data.group,
        detectors=settings.monitor.detectors,
    )
    started_at, ended_at, _ = time_span(columns.times, at)
    sequence = state.windows + 1
    window = Window(settings.project.name, sequence, version, started_at, ended_at, len(columns), summary)
    state = replace(state, windows=sequence)
    return replace(counted, state=state, windows=(*counted.windows, window), sample=columns.sample)


class _Newest:
    """The champion's newest predictions of this look, at most so many."""

    def __init__(self, version: int, most: int) -> None:
        self.version, self.most, self._frames = version, most, list[pl.DataFrame]()

    def take(self, own: NewRows) -> None:
        if len(own):
            self._frames = [pl.concat([*self._frames, own.frame.tail(self.most)]).tail(self.most)]

    def with_earlier(self, gathered: Gathered) -> tuple[Prediction, ...]:
        """These, filled up from what was seen before; none where there is nothing new."""
        new = predictions_in(self._frames[0]) if self._frames else ()
        if not new:
            return ()
        before = gathered.state
        start = before.windows_until.or_later(before.recent.older)
        return (*gathered.arrivals.newest_before(self.version, start, self.most - len(new)), *new)


def _looked(gathered: Gathered, state: WatchState, newest: _Newest, settings: Settings) -> WatchState:
    """A fresh look at the newest predictions where there are enough."""
    rows = newest.with_earlier(gathered)
    if len(rows) < LEAST_LOOKED_AT:
        return state
    return replace(state, look=look(gathered.profile, rows, settings.data.source))
