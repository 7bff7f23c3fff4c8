"""
Evidence that the world has changed, with a stated number of false alarms a quarter.

Each detector multiplies e-values into a Shiryaev-Roberts statistic, one per bet, kept as a logarithm; it alarms when
their mean reaches a threshold that grows with the number of detectors in its lane and with the units (predictions,
labels, blocks) it sees in a quarter. Under its null hypothesis a detector runs on average at least that many units
before it alarms, whatever the dependence between detectors, so the alarms expected in a quarter stay within the budget.
For predictions and labels that is a theorem, given the tolerance; for blocks, whose ranks are not quite independent, it
is shown by simulation.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace
from math import inf, isfinite, log

from models.intervals import wilson
from monitoring.evidence_records import (
    BLOCK_BETS,
    BLOCK_DETECTORS,
    BLOCKS,
    CHANNELS,
    GROSS,
    HARM,
    LANES,
    Detector,
    DetectorEvidence,
    Evidence,
    EvidenceSettings,
    EvidenceState,
    Observation,
)
from monitoring.shiryaev_roberts import log_mean, on_ranks, on_shares, walk

# Each lane's share of the false-alarm budget; the block lane keeps its half while it calibrates.
SHARES: Mapping[str, float] = {GROSS: 0.25, HARM: 0.25, BLOCKS: 0.5}
# A threshold from less traffic than this would be too easy to reach: the trailing rate may be about to rise.
LEAST_UNITS: Mapping[str, int] = {GROSS: 10_000, HARM: 100, BLOCKS: 1}

_GROSS_BETS = (0.3, 0.5, 0.75, 0.95)
_BLOCKS_PER_QUARTER = 90.0
_MOST_TOLERATED = 0.5
_EVEN_RANK = 0.5
_MOST_ERROR = 0.95
_ONE_SIDED_95 = 0.90  # two-sided level whose either end is one-sided at 0.95


def update(
    state: EvidenceState, observation: Observation, settings: EvidenceSettings
) -> tuple[EvidenceState, Evidence]:
    """The state after one observation, and what it says; the same observation again changes nothing."""
    return update_all(state, (observation,), settings)


def update_all(
    state: EvidenceState, observations: Iterable[Observation], settings: EvidenceSettings
) -> tuple[EvidenceState, Evidence]:
    """The state after observations in order, and what it says; those already applied change nothing."""
    waiting: dict[tuple[str, str], list[tuple[int, float]]] = {}
    last = dict(state.last_number)
    for observation in observations:
        if observation.number <= last.get(observation.lane, 0):
            continue
        last[observation.lane] = observation.number
        for name, value in observation.values:
            if isfinite(value):
                waiting.setdefault((observation.lane, name), []).append((observation.number, min(1.0, max(0.0, value))))
    detectors, fresh = [], []
    for detector in state.detectors:
        values = waiting.get((detector.lane, detector.name))
        if values:
            limit = _log_threshold(state, detector, settings)
            moved = _advance(detector, values, limit)
            if moved.alarmed_at is not None and detector.alarmed_at is None:
                fresh.append((moved.lane, moved.name))
            detectors.append(moved)
        else:
            detectors.append(detector)
    state = replace(state, detectors=tuple(detectors), last_number=last)
    return state, describe(state, settings, fresh)


def describe(state: EvidenceState, settings: EvidenceSettings, fresh: Collection[tuple[str, str]] = ()) -> Evidence:
    """The state in figures; `fresh` names detectors, by lane and name, that have alarmed just now."""
    shown = tuple(
        DetectorEvidence(
            lane=detector.lane,
            detector=detector.name,
            log10_evidence=log_mean(detector.log_r) / log(10) if detector.units else 0.0,
            log10_threshold=_log_threshold(state, detector, settings) / log(10),
            units=detector.units,
            mean=detector.total / detector.units if detector.units else 0.0,
            null=detector.null,
            alarmed_at=detector.alarmed_at,
        )
        for detector in state.detectors
    )
    new = tuple(found for found in shown if (found.lane, found.detector) in fresh)
    return Evidence(shown, new, block_lane(state, settings), lane_words(state, settings))


def begin(
    *,
    model_version: int,
    reason: str,
    judged_errors: Mapping[str, tuple[int, int]],
    settings: EvidenceSettings,
    units_per_quarter: Mapping[str, float] | None = None,
    last_number: Mapping[str, int] | None = None,
) -> EvidenceState:
    """
    A state without any evidence: at a first training, a promotion, a rollback, or a person's word.

    Args:
        model_version: The champion that is watched.
        reason: In words.
        judged_errors: Per labelled-harm detector ("overall", "class=7", "camera=A"), the champion's errors and
            images on the judge set.
        settings: Budget and tolerances.
        units_per_quarter: The trailing rate per lane; raised to at least 10,000 predictions and 100 labels; 90 blocks
            where none is given.
        last_number: Per lane, observations up to this number belong to the past.
    """
    rate = {BLOCKS: _BLOCKS_PER_QUARTER} | dict(units_per_quarter or {})
    gross = [_detector(GROSS, name, settings.atypical_share, _GROSS_BETS) for name in CHANNELS]
    harm = []
    for name, (errors, images) in judged_errors.items():
        null = min(_MOST_ERROR, wilson(errors, images, _ONE_SIDED_95)[1] + settings.harm_tolerance)
        harm.append(_detector(HARM, name, null, tuple(null + step for step in (0.04, 0.10, 0.20, 0.40))))
    return EvidenceState(
        model_version=model_version,
        reset_reason=reason,
        detectors=(*gross, *harm, *block_detectors()),
        units_per_quarter={lane: max(float(LEAST_UNITS[lane]), rate.get(lane, 0.0)) for lane in LANES},
        last_number=dict(last_number or {}),
    )


def block_detectors() -> tuple[Detector, ...]:
    """The detectors of the block lane, without any evidence."""
    blank = (-inf,) * len(BLOCK_BETS)
    return tuple(Detector(BLOCKS, name, _EVEN_RANK, BLOCK_BETS, blank) for name in BLOCK_DETECTORS)


def tolerate(state: EvidenceState, shares: Mapping[str, float]) -> EvidenceState:
    """
    The state with other tolerated shares of atypical predictions, per channel.

    A channel whose share changes begins anew, since its evidence was gathered against the other one; a channel that
    has alarmed stays as it is, and so does one whose share does not change.
    """
    moved = []
    for detector in state.detectors:
        share = shares.get(detector.name, detector.null) if detector.lane == GROSS else detector.null
        changed = share != detector.null and detector.alarmed_at is None
        moved.append(_detector(GROSS, detector.name, share, _GROSS_BETS) if changed else detector)
    return replace(state, detectors=tuple(moved))


def tolerated_share(largest_seen: float, settings: EvidenceSettings) -> float:
    """What share of atypical predictions is fine once burn-in has shown the benign blocks' largest."""
    return min(_MOST_TOLERATED, max(settings.atypical_share, 2 * largest_seen + 0.05))


def lane_words(state: EvidenceState, settings: EvidenceSettings) -> dict[str, str]:
    """Per lane, in words, what it can do so far."""
    nulls = [detector.null for detector in state.detectors if detector.lane == GROSS]
    labels = max((detector.units for detector in state.detectors if detector.lane == HARM), default=0)
    shares = (
        f"{min(nulls):.0%}" if len(set(nulls)) == 1 else f"{min(nulls, default=0):.0%} to {max(nulls, default=0):.0%}"
    )
    judged = any(detector.lane == HARM for detector in state.detectors)
    harm = f"watching: {labels:,} labels so far" if labels else "waiting for the first label drawn by chance"
    return {
        GROSS: f"watching: up to {shares} of atypical predictions are fine",
        HARM: harm if judged else "guard only: the champion was never judged, so no error is known to be too large",
        BLOCKS: block_lane(state, settings),
    }


def block_lane(state: EvidenceState, settings: EvidenceSettings) -> str:
    """What the lane of day-long blocks says; it ranks blocks against blocks and needs a pool of them first."""
    if state.block_words:
        return state.block_words
    done = min(state.blocks, settings.burn_in_blocks)
    return f"calibrating: {done} of {settings.burn_in_blocks} blocks; gross change and labelled harm are watched"


def _detector(lane: str, name: str, null: float, bets: tuple[float, ...]) -> Detector:
    # A bet of 1 would lose everything at the first value of 0.
    usable = tuple(min(bet, (1 + null) / 2 if bet >= 1 else bet) for bet in bets if bet > null)
    return Detector(lane, name, null, usable, (-inf,) * len(usable))


def _advance(detector: Detector, values: list[tuple[int, float]], limit: float) -> Detector:
    numbers, seen = [number for number, _ in values], [value for _, value in values]
    bet = on_ranks(detector.bets) if detector.lane == BLOCKS else on_shares(detector.bets, detector.null)
    log_r, reached = walk(detector.log_r, bet, seen, limit)
    alarmed_at = detector.alarmed_at
    if alarmed_at is None and reached is not None:
        alarmed_at = numbers[reached]
    return replace(
        detector,
        log_r=log_r,
        units=detector.units + len(values),
        total=detector.total + sum(seen),
        alarmed_at=alarmed_at,
    )


def _log_threshold(state: EvidenceState, detector: Detector, settings: EvidenceSettings) -> float:
    """Natural logarithm of N V / (B share); traffic that outgrows V raises the threshold and never lowers it."""
    members = sum(1 for other in state.detectors if other.lane == detector.lane)
    units = state.units_per_quarter[detector.lane]
    if detector.lane != BLOCKS:
        # Blocks come at the calendar's rate, which cannot be outgrown.
        units = max(units, float(detector.units))
    return log(members * units / (settings.false_alarms_per_quarter * SHARES[detector.lane]))
