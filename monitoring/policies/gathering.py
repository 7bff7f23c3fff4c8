"""What a look knows about starting a retrain, gathered before its transaction."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any

from models.registry import ModelVersion
from monitoring.policies.asking import Question
from monitoring.policies.expression import BIAS, PERFORMANCE
from monitoring.policies.measuring import estimates_of, measured_accuracy, predictions_per_day, shown_classes
from monitoring.policies.memory import PolicyMemory
from monitoring.policies.records import Measured, PolicyInput
from monitoring.policies.rows import newest_audit
from monitoring.policies.rules import PolicyRules
from monitoring.triage_records import Verdict
from monitoring.watching.counting import Counted
from monitoring.watching.place import WatchPlace
from monitoring.windows import window_spans

_MEASURED_OVER = timedelta(days=90)
_MOST_WINDOWS = 10


@dataclass(frozen=True)
class Seen:
    """
    What a look has found out.

    Attributes:
        classes: The champion's.
        summaries: Of its newest windows, newest first.
        new_labels: Whether labels have come since the last look.
    """

    champion: ModelVersion
    classes: Sequence[str]
    counted: Counted
    verdict: Verdict
    summaries: Sequence[Mapping[str, Any]]
    new_labels: bool


def question_of(place: WatchPlace, rules: PolicyRules, seen: Seen, at: datetime) -> Question:
    """Everything but jobs and requests; what no policy asks for, or costs a reading of the log in vain, is left out."""
    state, verdict = seen.counted.state, seen.verdict
    memory = _remeasured(place, rules, seen, at)
    harmed = verdict.avoidable_error is not None
    judged = BIAS in rules.when.policies and rules.most_subgroup_gap
    given = PolicyInput(
        at=at,
        action=verdict.action,
        words=verdict.reasons[0],
        avoidable_error=verdict.avoidable_error,
        avoidable_basis=verdict.avoidable_basis,
        labels=state.labels,
        shown=shown_classes(seen.summaries, state.labels),
        measured=memory.measured,
        estimates=estimates_of(seen.summaries),
        audit=newest_audit(place.engine, place.name, seen.champion.version) if judged else None,
        predictions_per_day=predictions_per_day(place.log, at) if harmed else None,
    )
    return Question(rules, given, memory)


def question_without_profile(rules: PolicyRules, verdict: Verdict, memory: PolicyMemory, at: datetime) -> Question:
    """Where nothing can be compared: the clock and people may ask, and a retrain makes the profile that is missing."""
    return Question(rules, PolicyInput(at=at, action=verdict.action, words=verdict.reasons[0]), memory)


def _remeasured(place: WatchPlace, rules: PolicyRules, seen: Seen, at: datetime) -> PolicyMemory:
    """Accuracy by labels counted anew, where a policy wants it and something about it can have changed."""
    before, version = seen.counted.state.policies, seen.champion.version
    if PERFORMANCE not in rules.when.policies or not rules.least_accuracy:
        return replace(before, version=version, measured=None)
    same = before.version == version and before.measured is not None
    if same and not seen.new_labels and not seen.counted.windows:
        return before
    return replace(before, version=version, measured=_measured(place, seen, at))


def _measured(place: WatchPlace, seen: Seen, at: datetime) -> Measured | None:
    """Of the newest windows since the evidence began, and of what came after them."""
    state, version = seen.counted.state, seen.champion.version
    known = window_spans(place.engine, place.name, at - _MEASURED_OVER, version, _MOST_WINDOWS)
    begun = [one.started_at for one in known if one.sequence > state.windows_before]
    begun += [one.started_at for one in seen.counted.windows if one.model_version == version]
    if not begun:
        return None
    return measured_accuracy(place, version, seen.classes, min(begun))
