"""What policies measure: accuracy by the newest labels, estimates of windows, classes that come, and how many a day."""

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from models.intervals import wilson
from monitoring.labelling.requests import ANSWERED
from monitoring.labelling.rows import requests
from monitoring.log.kin import kin_of
from monitoring.performance import Interval
from monitoring.policies.records import EstimatedAccuracy, Measured
from monitoring.prediction_log import PredictionLog
from monitoring.triage_records import LabelsSoFar
from monitoring.watching.place import WatchPlace

_ENDS = ("value", "low", "high")
_COLUMNS = ("id", "at", "model_version", "label", "true_label", "image_sha256", "metadata")
_RATE_OVER, _DAY, _LEAST_AGE = timedelta(days=7), timedelta(days=1), timedelta(hours=1)
# A class that comes less often than this is no class of the traffic: a wrong answer now and then names every class.
_LEAST_SHARE = 0.01


def measured_accuracy(place: WatchPlace, version: int, classes: Sequence[str], since: datetime) -> Measured:
    """
    Of the version's predictions since then, by labels that may measure: drawn by the audit, or declared random.

    Copies of one picture, and one session's predictions of a minute, count as one with their mean.
    """
    frame = place.log.labelled(since.date(), _COLUMNS)
    frame = frame.filter(
        (pl.col("at") >= since) & (pl.col("model_version") == version) & pl.col("true_label").is_in(list(classes))
    )
    if not place.settings.monitor.feedback_is_random:
        asked = requests(place.engine, place.name, (ANSWERED,))
        frame = frame.filter(pl.col("id").is_in([one.prediction_id for one in asked if one.in_audit]))
    right = (pl.col("label") == pl.col("true_label")).cast(pl.Float64).mean()
    units = frame.group_by(kin_of(place.settings.data.group)).agg(right=right)
    hits = float(units["right"].sum())
    if not units.height:
        return Measured(0, Interval(None, None, None))
    return Measured(units.height, Interval(hits / units.height, *wilson(hits, units.height)))


def estimates_of(summaries: Sequence[Mapping[str, Any]]) -> tuple[EstimatedAccuracy, ...]:
    """Of summaries as their rows keep them, in the same order; one without an estimate is not valid."""
    return tuple(_estimate(summary.get("estimate")) for summary in summaries)


def shown_classes(summaries: Sequence[Mapping[str, Any]], labels: LabelsSoFar) -> tuple[str, ...]:
    """Classes that at least a hundredth of the newest windows' answers name, or of the fresh labels."""
    answers: dict[str, float] = {}
    for summary in summaries:
        for label, share in summary.get("mix", {}).items():
            answers[label] = answers.get(label, 0.0) + share / len(summaries)
    said = {label: count / max(1, labels.fresh) for label, count in labels.by_class.items()}
    found = {label for shares in (answers, said) for label, share in shares.items() if share >= _LEAST_SHARE}
    return tuple(sorted(found))


def predictions_per_day(log: PredictionLog, at: datetime) -> float | None:
    """At the rate of the last seven days, or of as many as there are; None where nothing has arrived."""
    frame = log.predictions.scan()
    if frame is None:
        return None
    since = at - _RATE_OVER
    recent = frame.filter((pl.col("date") >= since.date().isoformat()) & pl.col("at").is_between(since, at))
    count, oldest = recent.select(pl.len().alias("count"), pl.col("at").min().alias("oldest")).collect().row(0)
    if not count:
        return None
    a_day: float = count / (max(at - oldest, _LEAST_AGE) / _DAY)
    return a_day


def _estimate(found: Any) -> EstimatedAccuracy:
    accuracy = found.get("accuracy") if isinstance(found, Mapping) else None
    if not isinstance(found, Mapping) or not isinstance(accuracy, Mapping):
        return EstimatedAccuracy(False, Interval(None, None, None))
    return EstimatedAccuracy(found.get("valid") is True, Interval(*(accuracy.get(end) for end in _ENDS)))
