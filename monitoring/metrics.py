"""The watcher's metrics, read from rows at the moment of asking: the watcher itself may be between two looks."""

from collections.abc import Iterator, Mapping
from math import isfinite
from typing import Any

import sqlalchemy as sa
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from infra.settings import Settings
from monitoring.history import Standing, standing
from monitoring.labelling.requests import ANSWERED, ASKED, OVERDUE, SKIPPED
from monitoring.triage_records import FIX_INPUT, LABEL_FIRST, NOTHING, RETRAIN

CONTENT_TYPE = CONTENT_TYPE_LATEST

EDGES = ("value", "low", "high")
_STATES = ("queued", "running", "done", "failed", "refused", "undecided", "declined", "cancelled")
_Family = GaugeMetricFamily | CounterMetricFamily


def exposition(engine: sa.Engine, settings: Settings) -> bytes:
    """The metrics in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(WatchCollector(engine, settings.project.name))
    return generate_latest(registry)


class WatchCollector(Collector):
    """Metrics of one model's watch; base units, and no label whose values grow without end."""

    def __init__(self, engine: sa.Engine, name: str) -> None:
        self.engine, self.name = engine, name

    def describe(self) -> Iterator[_Family]:
        """Nothing: registering must not read the database."""
        return iter(())

    def collect(self) -> Iterator[_Family]:
        """One consistent reading."""
        found = standing(self.engine, self.name)
        yield from _counts(found)
        yield from _state(found)
        yield from _evidence(found)
        if found.window is not None:
            yield from _window(_mapping(found.window["summary"]))
        if found.labelled is not None:
            yield from _labelled(_mapping(found.labelled["summary"]))


def _counts(found: Standing) -> Iterator[_Family]:
    yield _counter("kedge_watched_predictions", "Predictions in closed windows.", {(): found.predictions})
    yield _counter("kedge_watched_windows", "Windows closed.", {(): found.windows})
    yield _counter("kedge_alarms", "Alarms raised.", _keyed(found.alarms), ("lane",))
    yield _counter("kedge_window_pages_failed", "Pages of windows that failed.", {(): found.reports_failed})


def _state(found: Standing) -> Iterator[_Family]:
    yield _gauge("kedge_open_alarms", "Alarms nobody has acted on.", _keyed(found.open_alarms), ("lane",))
    asked = {(state,): float(found.label_requests.get(state, 0)) for state in (ASKED, ANSWERED, SKIPPED, OVERDUE)}
    yield _gauge("kedge_label_requests", "Labels asked for, by what became of them.", asked, ("state",))
    jobs = {(state,): float(found.jobs.get(state, 0)) for state in _STATES}
    yield _gauge("kedge_training_jobs", "Training jobs by state.", jobs, ("state",))
    if found.champion is not None:
        yield _gauge("kedge_champion_version", "The version that is champion.", {(): found.champion})
    if found.heard_at is not None:
        at = found.heard_at.timestamp()
        yield _gauge("kedge_watch_last_look_timestamp_seconds", "When the watcher last looked.", {(): at})
    if found.verdict is not None:
        actions = (NOTHING, LABEL_FIRST, FIX_INPUT, RETRAIN)
        said = {(action,): float(found.verdict["action"] == action) for action in actions}
        yield _gauge("kedge_verdict", "1 for the newest verdict, 0 for the others.", said, ("action",))


def _window(summary: Mapping[str, Any]) -> Iterator[_Family]:
    """What the newest window says; a part that its summary lacks, or holds in another form, is left out."""
    atypical = _numbers(summary.get("atypical"))
    yield _gauge("kedge_window_atypical_ratio", "Share of atypical predictions.", atypical, ("channel",))
    effects = _largest(summary.get("signals"), "family", "effect")
    yield _gauge("kedge_window_effect_ratio", "Largest distance from the reference, 0..1.", effects, ("family",))
    origin = _numbers(summary.get("origin"))
    help_text = "Distance from the first training's images, 0..1."
    yield _gauge("kedge_window_origin_distance_ratio", help_text, origin, ("family",))
    faults = _largest(summary.get("faults"), "kind", "share")
    yield _gauge("kedge_window_input_fault_ratio", "Largest share of faulty images of a source.", faults, ("kind",))
    p_value = _number(summary.get("p_value"))
    if p_value is not None:
        help_text = "Of the window beside its reference, over all signals; it draws, it does not alarm."
        yield _gauge("kedge_window_p_value", help_text, {(): p_value})
    yield from _estimate(summary.get("estimate"))


def _estimate(estimate: Any) -> Iterator[_Family]:
    values = _numbers(_mapping(estimate).get("accuracy"), EDGES)
    if not values:
        return
    help_text = "Accuracy as estimated without labels, with its interval; concept drift is not excluded."
    yield _gauge("kedge_window_estimated_accuracy_ratio", help_text, values, ("edge",))
    valid = {(): float(estimate.get("valid") is True)}
    yield _gauge("kedge_window_estimate_valid", "1 while that estimate may be believed.", valid)


def _evidence(found: Standing) -> Iterator[_Family]:
    """As of the newest look where it is kept, for labels move the evidence between windows too."""
    verdict = found.verdict["evidence"] if found.verdict is not None else None
    detectors = verdict.get("detectors") if isinstance(verdict, Mapping) else None
    if not detectors and found.window is not None:
        detectors = _mapping(found.window["summary"]).get("evidence")
    for what, help_text in (("evidence", "Evidence of change"), ("threshold", "Evidence at which it alarms")):
        values = {
            (str(one.get("lane", "")), str(one.get("detector", ""))): value
            for one in _entries(detectors)
            if (value := _number(one.get(f"log10_{what}"))) is not None
        }
        yield _gauge(f"kedge_{what}_log10", f"{help_text}, decimal logarithm.", values, ("lane", "detector"))


def _labelled(summary: Mapping[str, Any]) -> Iterator[_Family]:
    help_text = "Accuracy of the newest labelled window, with its 95 % interval."
    accuracy = _numbers(summary.get("accuracy"), EDGES)
    yield _gauge("kedge_window_accuracy_ratio", help_text, accuracy, ("edge",))
    labelled = _number(summary.get("labelled"))
    if labelled is not None:
        yield _gauge("kedge_window_labelled_predictions", "Its labelled predictions.", {(): labelled})


def _largest(entries: Any, key: str, value: str) -> dict[tuple[str, ...], float]:
    largest: dict[tuple[str, ...], float] = {}
    for one in _entries(entries):
        name, number = (str(one.get(key, "")),), _number(one.get(value))
        if number is not None:
            largest[name] = max(largest.get(name, number), number)
    return largest


def _numbers(found: Any, names: tuple[str, ...] | None = None) -> dict[tuple[str, ...], float]:
    """The finite numbers of a mapping, those of `names` where it is given."""
    pairs = {(str(name),): _number(value) for name, value in _mapping(found).items() if names is None or name in names}
    return {name: value for name, value in pairs.items() if value is not None}


def _mapping(found: Any) -> Mapping[str, Any]:
    return found if isinstance(found, Mapping) else {}


def _entries(found: Any) -> list[Mapping[str, Any]]:
    return [one for one in found if isinstance(one, Mapping)] if isinstance(found, list) else []


def _number(value: Any) -> float | None:
    """A finite number, which old and half-filled summaries do not always hold."""
    plain = isinstance(value, int | float) and not isinstance(value, bool)
    return float(value) if plain and isfinite(value) else None


def _keyed(values: Mapping[str, float]) -> dict[tuple[str, ...], float]:
    return {(name,): value for name, value in values.items()}


def _gauge(name: str, words: str, values: Mapping[Any, float], labels: tuple[str, ...] = ()) -> GaugeMetricFamily:
    family = GaugeMetricFamily(name, words, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family


def _counter(name: str, words: str, values: Mapping[Any, float], labels: tuple[str, ...] = ()) -> CounterMetricFamily:
    family = CounterMetricFamily(name, words, labels=labels)
    for key, value in values.items():
        family.add_metric(key, value)
    return family
