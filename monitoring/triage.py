"""Triage: from evidence to a verdict, with reasons in words and what would change it."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from monitoring.blocks.distance_from_origin import DistanceFromOrigin
from monitoring.evidence import BLOCKS, GROSS, HARM, DetectorEvidence, Evidence
from monitoring.identification import NONE, UNKNOWN, ShiftReport
from monitoring.incoming.faults import Look
from monitoring.incoming.volume import ArrivalReport

NOTHING, LABEL_FIRST, FIX_INPUT, RETRAIN = "nothing", "label_first", "fix_input", "retrain"
LABELLED, ESTIMATED = "labels", "estimate"
NOT_ENOUGH = "Not enough evidence yet"

# So many labelled pictures from the changed region show that a person can still read them.
_READABLE_LABELS = 5
_NAMED = 5


@dataclass(frozen=True)
class LabelsSoFar:
    """
    Labels that came after the champion was made and whose picture was kept, so that they can train.

    Attributes:
        fresh: All of them.
        in_region: Those of predictions where the change is; all of them where no region stands out.
        right_in_region: Of these, how many the champion had right.
        since_refusal: Those that came after the last refused candidate; None where none was refused.
        not_kept: Labels that came since then but whose picture was not kept.
        unlabelled: Classes of which there is no fresh label.
        by_class: How many of the fresh ones are of each class that has some.
    """

    fresh: int = 0
    in_region: int = 0
    right_in_region: int = 0
    since_refusal: int | None = None
    not_kept: int = 0
    unlabelled: Sequence[str] = ()
    by_class: Mapping[str, int] = field(default_factory=dict)


@dataclass(frozen=True)
class Situation:
    """
    Everything triage looks at.

    Attributes:
        predictions: The champion's, since the last reset.
        window: Predictions in a window.
        source: The declared source column; "" for none.
        feedback_is_random: Whether all labels measure harm, or only those that the audit sample asked for.
        estimated_loss_windows: So many of the newest windows in a row have a valid estimate of the accuracy, and it
            lies further below what it should be than the tolerance.
        estimated_loss: By how much, in the newest of them, 0..1; None where it is not known.
        shift: What kind of shift the newest window shows; None where it was not asked.
        arrivals: Volume, silent sources and the like; None where they were not read.
        origin_distance: Of the newest block; None before the first, or without an origin.
        changed_since: Detector of the blocks to the beginning of its change, where an alarm dates it.
    """

    evidence: Evidence
    look: Look
    labels: LabelsSoFar
    predictions: int
    window: int
    source: str
    feedback_is_random: bool
    harm_labels: int = 0
    estimated_loss_windows: int = 0
    estimated_loss: float | None = None
    shift: ShiftReport | None = None
    arrivals: ArrivalReport | None = None
    origin_distance: DistanceFromOrigin | None = None
    changed_since: Mapping[str, datetime] = field(default_factory=dict)


@dataclass(frozen=True)
class TriageRules:
    """What a retrain needs, and how much of a known source may look strange, 0..1."""

    least_fresh_labels: int = 100
    least_labels_in_changed_region: int = 50
    retrain_on_harm: bool = True
    most_known_source_changed: float = 0.20
    least_loss_windows: int = 2


@dataclass(frozen=True)
class Verdict:
    """
    What to do.

    Attributes:
        action: "nothing", "label_first", "fix_input" or "retrain".
        reasons: Sentences, the most important first.
        would_change: What would lead to another verdict, as sentences.
        starts_retrain: Whether the watcher may queue a retrain by itself.
        avoidable_error: Error above what the champion is allowed, 0..1 of all answers; None where no harm is shown.
        avoidable_basis: What shows it: "labels" or "estimate"; "" where nothing does.
    """

    action: str
    reasons: tuple[str, ...]
    would_change: tuple[str, ...]
    starts_retrain: bool = False
    avoidable_error: float | None = None
    avoidable_basis: str = ""

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def decide(situation: Situation, rules: TriageRules) -> Verdict:
    """
    Harm leads to a retrain once labels suffice, a gross change to labels or to mending the input.

    Harm is what labels show, or a lasting change of the blocks together with an estimated loss in window after window.
    A change alone never retrains: it says that the world looks different, not that the answers are worse.
    Broken pictures never train a model, whatever else is true.
    """
    verdict = _of_alarms(situation, rules)
    return replace(verdict, reasons=(*verdict.reasons, *_seen_beside(situation)))


def _of_alarms(situation: Situation, rules: TriageRules) -> Verdict:
    found = situation.evidence
    harm, gross, blocks = found.alarms(HARM), found.alarms(GROSS), found.alarms(BLOCKS)
    alarms = (*harm, *gross, *blocks)
    if situation.look.fault and alarms:
        return _broken_input(situation, (*gross, *harm, *blocks))
    if harm:
        reasons = [_said(situation, alarm) for alarm in alarms]
        return _harmed(situation, rules, reasons, _Avoidable(_avoidable(situation, harm), LABELLED))
    if gross and _is_unreadable(situation, rules):
        return _unreadable(situation, gross)
    if blocks and situation.estimated_loss_windows >= rules.least_loss_windows:
        reasons = [_estimated(situation), *(_said(situation, alarm) for alarm in (*blocks, *gross))]
        return _harmed(situation, rules, reasons, _Avoidable(situation.estimated_loss, ESTIMATED))
    if gross:
        return _gross(situation, rules, (*gross, *blocks))
    if blocks:
        return _slow_change(situation, rules, blocks)
    return _quiet(situation)


def _broken_input(situation: Situation, alarms: Sequence[DetectorEvidence]) -> Verdict:
    return Verdict(
        FIX_INPUT,
        (
            f"The input is broken: {situation.look.fault}. No model can read it, and none is trained on it.",
            *(_said(situation, alarm) for alarm in alarms),
        ),
        ("Whole pictures arriving again.",),
    )


@dataclass(frozen=True)
class _Avoidable:
    error: float | None
    basis: str


def _avoidable(situation: Situation, harm: Sequence[DetectorEvidence]) -> float:
    """As a share of all answers: what a class or subgroup alone suffers counts by its share of the labels."""
    return max((alarm.mean - alarm.null) * _weight(situation, alarm) for alarm in harm)


def _weight(situation: Situation, alarm: DetectorEvidence) -> float:
    if alarm.detector == "overall" or not situation.harm_labels:
        return 1.0
    return min(1.0, alarm.units / situation.harm_labels)


def _harmed(situation: Situation, rules: TriageRules, reasons: Sequence[str], avoidable: _Avoidable) -> Verdict:
    told = [*reasons, *_kind_of_shift(situation), *_new_sources(situation)]
    missing = _missing_labels(situation, rules)
    if missing:
        told.append("The labels do not suffice to train on: " + "; ".join(missing) + ".")
        would = tuple(f"{_capital(need)}." for need in missing)
        return Verdict(
            LABEL_FIRST, tuple(told), would, avoidable_error=avoidable.error, avoidable_basis=avoidable.basis
        )
    labels = situation.labels
    told.append(f"{labels.fresh} fresh labels can train, {labels.in_region} of them from where the change is.")
    if labels.unlabelled:
        named = ", ".join(labels.unlabelled[:_NAMED]) + (" and others" if len(labels.unlabelled) > _NAMED else "")
        told.append(f"None of them is of {named}: of these a successor learns nothing new.")
    if not rules.retrain_on_harm:
        told.append("trigger.retrain_on_harm is off, so a person has to start it: kedge retrain.")
    return Verdict(
        RETRAIN,
        tuple(told),
        ("A successor that passes the gate; or labels that show the champion within its bound again.",),
        starts_retrain=rules.retrain_on_harm,
        avoidable_error=avoidable.error,
        avoidable_basis=avoidable.basis,
    )


def _is_unreadable(situation: Situation, rules: TriageRules) -> bool:
    changed = situation.look.known_source_changed > rules.most_known_source_changed
    return bool(situation.source) and changed and situation.labels.in_region < _READABLE_LABELS


def _unreadable(situation: Situation, gross: Sequence[DetectorEvidence]) -> Verdict:
    unlike = (
        f"{situation.look.known_source_changed:.0%} of the newest pictures from a known {situation.source} look unlike "
        "any before, and no label shows that they can still be read."
    )
    return Verdict(
        FIX_INPUT,
        (
            *(_said(situation, alarm) for alarm in gross),
            *_kind_of_shift(situation),
            *_new_sources(situation),
            unlike,
        ),
        (f"{_READABLE_LABELS} labels of the changed pictures would show that a person can read them.",),
    )


def _gross(situation: Situation, rules: TriageRules, alarms: Sequence[DetectorEvidence]) -> Verdict:
    reasons = [_said(situation, alarm) for alarm in alarms] + _kind_of_shift(situation) + _new_sources(situation)
    labels = situation.labels
    if labels.in_region:
        reasons.append(
            f"Of {labels.in_region} labelled pictures from where the change is, {labels.right_in_region} were "
            "answered right."
        )
    else:
        reasons.append("No label from where the change is has come in yet.")
    return Verdict(LABEL_FIRST, tuple(reasons), _towards_a_retrain(situation, rules))


def _slow_change(situation: Situation, rules: TriageRules, blocks: Sequence[DetectorEvidence]) -> Verdict:
    loss = situation.estimated_loss_windows
    harmless = f"No harm is shown: {rules.least_loss_windows} windows in a row with a valid estimate below tolerance "
    harmless += f"would be needed, and there {'is' if loss == 1 else 'are'} {loss or 'none'}."
    reasons = [_said(situation, alarm) for alarm in blocks] + _kind_of_shift(situation) + _new_sources(situation)
    return Verdict(
        NOTHING,
        (*reasons, harmless, 'If this is the new normal, say so: kedge watch --accept-as-normal "why".'),
        (f"{_capital(_loss_needed(rules))}.", *_towards_a_retrain(situation, rules)),
    )


def _towards_a_retrain(situation: Situation, rules: TriageRules) -> tuple[str, ...]:
    would = "Labels that show the champion worse than its bound lead to a retrain."
    if not situation.feedback_is_random:
        would = (
            "Labels drawn by chance that show the champion worse than its bound: `kedge labels next` asks for them. "
            "Others count as evidence of harm only when monitor.feedback_is_random is set."
        )
    return (would, *(f"For a retrain: {need}." for need in _missing_labels(situation, rules)))


def _quiet(situation: Situation) -> Verdict:
    if situation.predictions < situation.window:
        first = f"{NOT_ENOUGH}: {situation.predictions} of {situation.window} predictions."
    else:
        first = f"No alarm in {situation.predictions:,} predictions and {situation.harm_labels:,} labels."
    reasons = [first, f"Slow change: {situation.evidence.block_lane}."]
    if not situation.feedback_is_random:
        reasons.append(
            "Labelled harm is watched by the labels that chance drew (`kedge labels next`); monitor.feedback_is_random "
            "is off, so that others only train."
        )
    reasons += _new_sources(situation)
    return Verdict(NOTHING, tuple(reasons), ("An alarm of one of the lanes.",))


def _missing_labels(situation: Situation, rules: TriageRules) -> list[str]:
    labels = situation.labels
    needs = []
    if labels.fresh < rules.least_fresh_labels:
        needs.append(f"{rules.least_fresh_labels - labels.fresh} more fresh labels ({labels.fresh} so far)")
    if labels.in_region < rules.least_labels_in_changed_region:
        more = rules.least_labels_in_changed_region - labels.in_region
        needs.append(f"{more} more labels from where the change is ({labels.in_region} so far){_region(situation)}")
    since = labels.since_refusal
    if since is not None and since < rules.least_fresh_labels:
        needs.append(f"{rules.least_fresh_labels - since} more labels since the last candidate was refused")
    if needs and labels.not_kept:
        needs[-1] += f"; {labels.not_kept} labels cannot train, because their pictures were not kept"
    return needs


def _region(situation: Situation) -> str:
    """Which pictures those are, where it can be said."""
    new = [f"{situation.source} = {value}" for value in situation.look.new_sources or {}][:_NAMED]
    alarmed = [alarm.detector for alarm in situation.evidence.alarms(GROSS)]
    if new:
        return f", of {', '.join(new)}"
    return f", of pictures atypical in {', '.join(alarmed)}" if alarmed else ""


def _kind_of_shift(situation: Situation) -> list[str]:
    shift = situation.shift
    if shift is None or shift.kind == NONE:
        return []
    if shift.kind == UNKNOWN:
        return [f"What kind of change this is cannot be told. {' '.join(shift.words)}"]
    return list(shift.words)


def _seen_beside(situation: Situation) -> list[str]:
    """What stands beside the verdict, whatever it is, and never makes one."""
    beside, found = [], situation.evidence
    if situation.look.fault and not any(found.alarms(lane) for lane in (HARM, GROSS, BLOCKS)):
        beside.append(f"Seen beside it: {situation.look.fault}.")
    if situation.arrivals is not None:
        beside += situation.arrivals.notes
    if situation.origin_distance is not None and situation.origin_distance.is_beyond:
        beside.append(situation.origin_distance.words)
    return beside


def _estimated(situation: Situation) -> str:
    much = "" if situation.estimated_loss is None else f", in the newest by {situation.estimated_loss:.1%}"
    return (
        f"Estimated harm: in the newest {situation.estimated_loss_windows} windows the estimated accuracy lies below "
        f"what is tolerated{much}. Concept drift is not excluded."
    )


def _loss_needed(rules: TriageRules) -> str:
    return f"an estimated loss above tolerance in {rules.least_loss_windows} windows in a row"


def _new_sources(situation: Situation) -> list[str]:
    new = situation.look.new_sources or {}
    return [
        f"{situation.source} = {value} is new: {count} of the newest {situation.look.predictions} predictions."
        for value, count in new.items()
    ]


def _said(situation: Situation, alarm: DetectorEvidence) -> str:
    where = "" if alarm.detector == "overall" else f" for {alarm.detector}"
    if alarm.lane == HARM:
        return (
            f"Labelled harm{where}: {alarm.mean:.1%} of {alarm.units:,} labelled answers were wrong; "
            f"up to {alarm.null:.1%} would be fine."
        )
    if alarm.lane == BLOCKS:
        since = situation.changed_since.get(alarm.detector)
        begun = "" if since is None else f", probably since {since:%Y-%m-%d %H:%M} UTC"
        return (
            f"Slow change in {alarm.detector}{begun}: so many blocks close together lay unusually far from the "
            f"reference that chance does not explain them ({alarm.units:,} blocks ranked)."
        )
    return (
        f"Gross change in {alarm.detector}: so many atypical predictions came close together that {alarm.null:.0%}, "
        f"which would be fine, cannot explain them ({alarm.mean:.0%} of all {alarm.units:,} so far)."
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
