"""Triage: from evidence to a verdict, with reasons in words and what would change it."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from monitoring.evidence_records import BLOCKS, GROSS, HARM, DetectorEvidence
from monitoring.triage_records import (
    ESTIMATED,
    FIX_INPUT,
    LABEL_FIRST,
    LABELLED,
    NOT_ENOUGH,
    NOTHING,
    RETRAIN,
    Situation,
    TriageRules,
    Verdict,
)
from monitoring.triage_words import NAMED, capital, estimated, kind_of_shift, new_sources, region, said, seen_beside

# So many labelled pictures from the changed region show that a person can still read them.
_READABLE_LABELS = 5


def decide(situation: Situation, rules: TriageRules) -> Verdict:
    """
    Harm leads to a retrain once labels suffice, a gross change to labels or to mending the input.

    Harm is what labels show, or a lasting change of the blocks together with an estimated loss in window after window.
    A change alone never retrains: it says that the world looks different, not that the answers are worse.
    Broken pictures never train a model, whatever else is true.
    """
    verdict = _of_alarms(situation, rules)
    return replace(verdict, reasons=(*verdict.reasons, *seen_beside(situation)))


def _of_alarms(situation: Situation, rules: TriageRules) -> Verdict:
    found = situation.evidence
    harm, gross, blocks = found.alarms(HARM), found.alarms(GROSS), found.alarms(BLOCKS)
    alarms = (*harm, *gross, *blocks)
    if situation.look.fault and alarms:
        return _broken_input(situation, (*gross, *harm, *blocks))
    if harm:
        reasons = [said(situation, alarm) for alarm in alarms]
        return _harmed(situation, rules, reasons, _Avoidable(_avoidable(situation, harm), LABELLED))
    if gross and _is_unreadable(situation, rules):
        return _unreadable(situation, gross)
    if blocks and situation.estimated_loss_windows >= rules.least_loss_windows:
        reasons = [estimated(situation), *(said(situation, alarm) for alarm in (*blocks, *gross))]
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
            *(said(situation, alarm) for alarm in alarms),
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
    told = [*reasons, *kind_of_shift(situation), *new_sources(situation)]
    missing = _missing_labels(situation, rules)
    if missing:
        told.append("The labels do not suffice to train on: " + "; ".join(missing) + ".")
        would = tuple(f"{capital(need)}." for need in missing)
        return Verdict(
            LABEL_FIRST, tuple(told), would, avoidable_error=avoidable.error, avoidable_basis=avoidable.basis
        )
    labels = situation.labels
    told.append(f"{labels.fresh} fresh labels can train, {labels.in_region} of them from where the change is.")
    if labels.unlabelled:
        named = ", ".join(labels.unlabelled[:NAMED]) + (" and others" if len(labels.unlabelled) > NAMED else "")
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
            *(said(situation, alarm) for alarm in gross),
            *kind_of_shift(situation),
            *new_sources(situation),
            unlike,
        ),
        (f"{_READABLE_LABELS} labels of the changed pictures would show that a person can read them.",),
    )


def _gross(situation: Situation, rules: TriageRules, alarms: Sequence[DetectorEvidence]) -> Verdict:
    reasons = [said(situation, alarm) for alarm in alarms] + kind_of_shift(situation) + new_sources(situation)
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
    reasons = [said(situation, alarm) for alarm in blocks] + kind_of_shift(situation) + new_sources(situation)
    return Verdict(
        NOTHING,
        (*reasons, harmless, 'If this is the new normal, say so: kedge watch --accept-as-normal "why".'),
        (f"{capital(_loss_needed(rules))}.", *_towards_a_retrain(situation, rules)),
    )


def _loss_needed(rules: TriageRules) -> str:
    return f"an estimated loss above tolerance in {rules.least_loss_windows} windows in a row"


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
    reasons += new_sources(situation)
    return Verdict(NOTHING, tuple(reasons), ("An alarm of one of the lanes.",))


def _missing_labels(situation: Situation, rules: TriageRules) -> list[str]:
    labels = situation.labels
    needs = []
    if labels.fresh < rules.least_fresh_labels:
        needs.append(f"{rules.least_fresh_labels - labels.fresh} more fresh labels ({labels.fresh} so far)")
    if labels.in_region < rules.least_labels_in_changed_region:
        more = rules.least_labels_in_changed_region - labels.in_region
        needs.append(f"{more} more labels from where the change is ({labels.in_region} so far){region(situation)}")
    since = labels.since_refusal
    if since is not None and since < rules.least_fresh_labels:
        needs.append(f"{rules.least_fresh_labels - since} more labels since the last candidate was refused")
    if needs and labels.not_kept:
        needs[-1] += f"; {labels.not_kept} labels cannot train, because their pictures were not kept"
    return needs
