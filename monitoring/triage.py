"""Triage: from evidence to a verdict, with reasons in words and what would change it."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from monitoring.evidence import GROSS, HARM, DetectorEvidence, Evidence
from monitoring.faults import Look

NOTHING, LABEL_FIRST, FIX_INPUT, RETRAIN = "nothing", "label_first", "fix_input", "retrain"
NOT_ENOUGH = "Not enough evidence yet"

# So many labelled pictures from the changed region show that a person can still read them.
_READABLE_LABELS = 5


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
    """

    fresh: int = 0
    in_region: int = 0
    right_in_region: int = 0
    since_refusal: int | None = None
    not_kept: int = 0


@dataclass(frozen=True)
class Situation:
    """
    Everything triage looks at.

    Attributes:
        predictions: The champion's, since the last reset.
        window: Predictions in a window.
        source: The declared source column; "" for none.
        feedback_is_random: Whether labels measure harm at all.
    """

    evidence: Evidence
    look: Look
    labels: LabelsSoFar
    predictions: int
    window: int
    source: str
    feedback_is_random: bool
    harm_labels: int = 0


@dataclass(frozen=True)
class TriageRules:
    """What a retrain needs, and how much of a known source may look strange, 0..1."""

    least_fresh_labels: int = 100
    least_labels_in_changed_region: int = 50
    retrain_on_harm: bool = True
    most_known_source_changed: float = 0.20


@dataclass(frozen=True)
class Verdict:
    """
    What to do.

    Attributes:
        action: "nothing", "label_first", "fix_input" or "retrain".
        reasons: Sentences, the most important first.
        would_change: What would lead to another verdict, as sentences.
        starts_retrain: Whether the watcher may queue a retrain by itself.
        avoidable_error: Error above what the champion is allowed, 0..1; None where harm is not shown.
    """

    action: str
    reasons: tuple[str, ...]
    would_change: tuple[str, ...]
    starts_retrain: bool = False
    avoidable_error: float | None = None

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


def decide(situation: Situation, rules: TriageRules) -> Verdict:
    """
    Labelled harm leads to a retrain once labels suffice; a gross change to labels, or to mending the input.

    A gross change alone never retrains: it says that the world looks different, not that the answers are worse.
    Broken pictures never train a model, whatever else is true.
    """
    harm, gross = situation.evidence.alarms(HARM), situation.evidence.alarms(GROSS)
    if situation.look.fault and (harm or gross):
        return _broken_input(situation, (*gross, *harm))
    if harm:
        return _harm(situation, rules, harm, gross)
    if gross:
        return _gross(situation, rules, gross)
    return _quiet(situation)


def _broken_input(situation: Situation, alarms: Sequence[DetectorEvidence]) -> Verdict:
    return Verdict(
        FIX_INPUT,
        (
            f"The input is broken: {situation.look.fault}. No model can read it, and none is trained on it.",
            *(_said(alarm) for alarm in alarms),
        ),
        ("Whole pictures arriving again.",),
    )


def _harm(
    situation: Situation, rules: TriageRules, harm: Sequence[DetectorEvidence], gross: Sequence[DetectorEvidence]
) -> Verdict:
    reasons = [_said(alarm) for alarm in harm] + [_said(alarm) for alarm in gross] + _new_sources(situation)
    avoidable = max(alarm.mean - alarm.null for alarm in harm)
    missing = _missing_labels(situation, rules)
    if missing:
        reasons.append("The labels do not suffice to train on: " + "; ".join(missing) + ".")
        return Verdict(LABEL_FIRST, tuple(reasons), tuple(f"{_capital(need)}." for need in missing),
                       avoidable_error=avoidable)  # fmt: skip
    labels = situation.labels
    reasons.append(f"{labels.fresh} fresh labels can train, {labels.in_region} of them from where the change is.")
    if not rules.retrain_on_harm:
        reasons.append("trigger.retrain_on_harm is off, so a person has to start it: kedge retrain.")
    return Verdict(
        RETRAIN,
        tuple(reasons),
        ("A successor that passes the gate; or labels that show the champion within its bound again.",),
        starts_retrain=rules.retrain_on_harm,
        avoidable_error=avoidable,
    )


def _gross(situation: Situation, rules: TriageRules, gross: Sequence[DetectorEvidence]) -> Verdict:
    reasons = [_said(alarm) for alarm in gross] + _new_sources(situation)
    labels, look = situation.labels, situation.look
    readable = labels.in_region >= _READABLE_LABELS
    known_changed = look.known_source_changed > rules.most_known_source_changed
    if situation.source and known_changed and not readable:
        reasons.append(
            f"{look.known_source_changed:.0%} of the newest pictures from a known {situation.source} look unlike "
            "any before, and no label shows that they can still be read."
        )
        return Verdict(
            FIX_INPUT,
            tuple(reasons),
            (f"{_READABLE_LABELS} labels of the changed pictures would show that a person can read them.",),
        )
    if labels.in_region:
        reasons.append(
            f"Of {labels.in_region} labelled pictures from where the change is, {labels.right_in_region} were "
            "answered right."
        )
    else:
        reasons.append("No label from where the change is has come in yet.")
    would = ["Labels that show the champion worse than its bound lead to a retrain."]
    if not situation.feedback_is_random:
        would = [
            "Labels of a random sample: labels count as evidence of harm only when monitor.feedback_is_random is set."
        ]
    missing = _missing_labels(situation, rules)
    return Verdict(LABEL_FIRST, tuple(reasons), (*would, *(f"For a retrain: {need}." for need in missing)))


def _quiet(situation: Situation) -> Verdict:
    if situation.predictions < situation.window:
        first = f"{NOT_ENOUGH}: {situation.predictions} of {situation.window} predictions."
    else:
        first = f"No alarm in {situation.predictions:,} predictions and {situation.harm_labels:,} labels."
    reasons = [first, f"Slow change: {situation.evidence.block_lane}."]
    if not situation.feedback_is_random:
        reasons.append("Labels are not declared a random sample, so labelled harm is not watched.")
    if situation.look.fault:
        reasons.append(f"Seen beside it: {situation.look.fault}.")
    reasons += _new_sources(situation)
    return Verdict(NOTHING, tuple(reasons), ("An alarm of one of the lanes.",))


def _missing_labels(situation: Situation, rules: TriageRules) -> list[str]:
    labels = situation.labels
    needs = []
    if labels.fresh < rules.least_fresh_labels:
        needs.append(f"{rules.least_fresh_labels - labels.fresh} more fresh labels ({labels.fresh} so far)")
    if labels.in_region < rules.least_labels_in_changed_region:
        more = rules.least_labels_in_changed_region - labels.in_region
        needs.append(f"{more} more labels from where the change is ({labels.in_region} so far)")
    since = labels.since_refusal
    if since is not None and since < rules.least_fresh_labels:
        needs.append(f"{rules.least_fresh_labels - since} more labels since the last candidate was refused")
    if needs and labels.not_kept:
        needs[-1] += f"; {labels.not_kept} labels cannot train, because their pictures were not kept"
    return needs


def _new_sources(situation: Situation) -> list[str]:
    new = situation.look.new_sources or {}
    return [
        f"{situation.source} = {value} is new: {count} of the newest {situation.look.predictions} predictions."
        for value, count in new.items()
    ]


def _said(alarm: DetectorEvidence) -> str:
    where = "" if alarm.detector == "overall" else f" for {alarm.detector}"
    if alarm.lane == HARM:
        return (
            f"Labelled harm{where}: {alarm.mean:.1%} of {alarm.units:,} labelled answers were wrong; "
            f"up to {alarm.null:.1%} would be fine."
        )
    return (
        f"Gross change in {alarm.detector}: so many atypical predictions came close together that {alarm.null:.0%}, "
        f"which would be fine, cannot explain them ({alarm.mean:.0%} of all {alarm.units:,} so far)."
    )


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]
