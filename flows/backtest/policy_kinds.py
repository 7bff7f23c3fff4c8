"""The kinds of policies that a backtest knows: what each takes, by which words it is told, and how it begins."""

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from infra.errors import UserError
from infra.settings import Settings
from infra.settings_sections import MonitorSettings, TriggerSettings
from infra.settings_values import typed
from monitoring.backtesting.evidence_trigger import EvidenceTrigger, WatchRules
from monitoring.backtesting.plain_triggers import Accuracy, Amount, Distance, Never, Schedule
from monitoring.backtesting.trigger import Trigger
from monitoring.evidence_records import EvidenceSettings
from monitoring.policies.rules import rules_of

KEDGE = "kedge"
_OF_MONITOR = ("harm_tolerance", "false_alarms_per_quarter")
_LABELS_COUNTED, _LEAST_WINDOW, _SCHEDULES = 50, 100, 8


@dataclass(frozen=True)
class Usual:
    """
    What a policy takes where it is given no number.

    Attributes:
        days: Length of the log.
        accuracy: Of the version on its held-out images, 0..1.
        training_minutes: That a retrain takes.
    """

    settings: Settings
    days: float
    accuracy: float
    training_minutes: float


@dataclass(frozen=True)
class Made:
    """A policy's words, and a fresh trigger of it."""

    words: str
    begin: Callable[[], Trigger]


@dataclass(frozen=True)
class Kind:
    """
    One kind.

    Attributes:
        keys: What a file may say of it.
        number: The key that a number after its name stands for; "" where it takes none.
    """

    make: Callable[[Mapping[str, Any], Usual], Made]
    keys: tuple[str, ...] = ()
    number: str = ""


def _never(given: Mapping[str, Any], usual: Usual) -> Made:
    return Made("the version answers for ever", Never)


def _schedule(given: Mapping[str, Any], usual: Usual) -> Made:
    days = float(given.get("days", usual.days / _SCHEDULES))
    return Made(f"every {_span(days)}", lambda: Schedule(days))


def _labels(given: Mapping[str, Any], usual: Usual) -> Made:
    labels = round(given.get("labels", usual.settings.trigger.least_fresh_labels))
    return Made(f"every {labels} labels", lambda: Amount(labels))


def _drift(given: Mapping[str, Any], usual: Usual) -> Made:
    window = round(given.get("predictions", max(_LEAST_WINDOW, usual.settings.monitor.window)))
    distance = float(given.get("distance", 0.0))
    rule = f"above {distance:g}" if distance else "among the largest 5 % of the last ten"
    return Made(f"squared MMD of {window} embeddings {rule}", lambda: Distance(window, distance))


def _accuracy(given: Mapping[str, Any], usual: Usual) -> Made:
    least = float(given.get("accuracy", usual.accuracy - usual.settings.monitor.harm_tolerance))
    labels = round(given.get("labels", _LABELS_COUNTED))
    words = f"fewer than {100 * least:.3g} % of the newest {labels} labelled answers right"
    return Made(words, lambda: Accuracy(least, labels))


def _kedge(given: Mapping[str, Any], usual: Usual) -> Made:
    """As the settings are, but for what is given."""
    settings = usual.settings
    of_monitor = {key: value for key, value in given.items() if key in _OF_MONITOR}
    of_trigger = {key: value for key, value in given.items() if key not in _OF_MONITOR}
    monitor = dataclasses.replace(settings.monitor, **_typed(of_monitor, MonitorSettings))
    trigger = dataclasses.replace(settings.trigger, **_typed(of_trigger, TriggerSettings))
    rules = WatchRules(
        evidence=EvidenceSettings(
            false_alarms_per_quarter=monitor.false_alarms_per_quarter,
            harm_tolerance=monitor.harm_tolerance,
            burn_in_blocks=monitor.burn_in_blocks,
        ),
        policy=rules_of(dataclasses.replace(settings, trigger=trigger)),
        training_minutes=usual.training_minutes,
        window=monitor.window,
        source=settings.data.source,
        group=settings.data.group,
        subgroups=settings.data.subgroups,
        feedback_is_random=monitor.feedback_is_random,
    )
    changed = "".join(f", {key} = {value}" for key, value in given.items() if key != "when")
    return Made(f"evidence, triage, {trigger.when}{changed}", lambda: EvidenceTrigger(rules))


KINDS: Mapping[str, Kind] = {
    "never": Kind(_never),
    "schedule": Kind(_schedule, ("days",), "days"),
    "labels": Kind(_labels, ("labels",), "labels"),
    "drift": Kind(_drift, ("distance", "predictions"), "distance"),
    "accuracy": Kind(_accuracy, ("accuracy", "labels"), "accuracy"),
    KEDGE: Kind(_kedge, (*(one.name for one in dataclasses.fields(TriggerSettings)), *_OF_MONITOR)),
}


def _typed(given: Mapping[str, Any], section: type) -> dict[str, Any]:
    fields = {one.name: one for one in dataclasses.fields(section)}
    found = {}
    for key, value in given.items():
        try:
            found[key] = typed(value, fields[key])
        except ValueError as mistake:
            raise UserError(f"{key} {mistake}.") from None
    return found


def _span(days: float) -> str:
    for unit, size in (("days", 1.0), ("hours", 1 / 24), ("minutes", 1 / 1440)):
        if days >= 2 * size:
            return f"{days / size:.3g} {unit}"
    return f"{days * 86_400:.3g} seconds"
