"""The watcher's metrics, read from rows at the moment of asking: the watcher itself may be between two looks."""

from collections.abc import Iterator, Mapping
from typing import Any

import sqlalchemy as sa
from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from infra.settings import Settings
from monitoring.history import Standing, standing
from monitoring.triage import FIX_INPUT, LABEL_FIRST, NOTHING, RETRAIN

CONTENT_TYPE = CONTENT_TYPE_LATEST

_STATES = ("queued", "running", "done", "failed", "refused", "cancelled")
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
        if found.window is not None:
            yield from _window(found.window["summary"])
        if found.labelled is not None:
            yield from _labelled(found.labelled["summary"])


def _counts(found: Standing) -> Iterator[_Family]:
    yield _counter("kedge_watched_predictions", "Predictions in closed windows.", {(): found.predictions})
    yield _counter("kedge_watched_windows", "Windows closed.", {(): found.windows})
    yield _counter("kedge_alarms", "Alarms raised.", _keyed(found.alarms), ("lane",))
    yield _counter("kedge_window_pages_failed", "Pages of windows that failed.", {(): found.reports_failed})


def _state(found: Standing) -> Iterator[_Family]:
    yield _gauge("kedge_open_alarms", "Alarms nobody has acted on.", _keyed(found.open_alarms), ("lane",))
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
    atypical = _keyed(summary.get("atypical", {}))
    yield _gauge("kedge_window_atypical_ratio", "Share of atypical predictions.", atypical, ("channel",))
    largest: dict[tuple[str, ...], float] = {}
    for signal in summary.get("signals", []):
        key = (signal["family"],)
        largest[key] = max(largest.get(key, 0.0), signal["effect"])
    yield _gauge("kedge_window_effect_ratio", "Largest distance from the reference, 0..1.", largest, ("family",))
    detectors = {(one["lane"], one["detector"]): one for one in summary.get("evidence", [])}
    for what, help_text in (("evidence", "Evidence of change"), ("threshold", "Evidence at which it alarms")):
        values = {key: one[f"log10_{what}"] for key, one in detectors.items()}
        yield _gauge(f"kedge_{what}_log10", f"{help_text}, decimal logarithm.", values, ("lane", "detector"))


def _labelled(summary: Mapping[str, Any]) -> Iterator[_Family]:
    accuracy = summary["accuracy"]
    values = {(edge,): accuracy[edge] for edge in ("value", "low", "high") if accuracy.get(edge) is not None}
    help_text = "Accuracy of the newest labelled window, with its 95 % interval."
    yield _gauge("kedge_window_accuracy_ratio", help_text, values, ("edge",))
    yield _gauge("kedge_window_labelled_predictions", "Its labelled predictions.", {(): summary["labelled"]})


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
