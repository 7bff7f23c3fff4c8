"""What the watcher reads at one look: new predictions and new labels, beside the profile of the champion."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta

import polars as pl

from infra.clock import now
from models.prediction import Label, Prediction
from models.registry import ModelVersion
from monitoring.evidence_records import GROSS, HARM
from monitoring.labelling.rows import Answer, answers, audit_answers
from monitoring.log.cursor import Cursor
from monitoring.log.stretch import new_stretch
from monitoring.prediction_log import PredictionLog
from monitoring.reference.profile import ReferenceProfile, load_profile
from monitoring.watching.new_rows import Arrivals
from monitoring.watching.place import WatchPlace
from monitoring.watching.state import WatchState

_MOST_ROWS = 100_000
_RATE_OVER = timedelta(days=7)
_QUARTER_DAYS = 90
# A label may be sent before its prediction has left the spool; after a day the prediction will not come any more.
_MOST_WAITING, _LONGEST_WAIT = 5_000, timedelta(days=1)


@dataclass(frozen=True)
class NewLabels:
    """
    Labels to be counted, of each prediction the first one only.

    Attributes:
        pairs: Labels with their predictions, in the order of arrival.
        waiting: Labels whose prediction has not reached the log yet.
        cursor: After all that were read.
    """

    pairs: tuple[tuple[Label, Prediction], ...]
    waiting: tuple[Label, ...]
    cursor: Cursor


@dataclass(frozen=True)
class Gathered:
    """
    What there is to count, before anything is concluded.

    Attributes:
        state: As the last look left it, with the rows of the open window counted.
        arrivals: The new predictions, which are read a slice at a time while they are counted.
        units_per_quarter: The trailing rate per lane; read only when the evidence begins anew.
        answered: Labels that were asked for and have come since.
    """

    champion: ModelVersion
    profile: ReferenceProfile
    state: WatchState
    arrivals: Arrivals
    labels: NewLabels
    units_per_quarter: Mapping[str, float]
    answered: tuple[Answer, ...] = ()


def gather(place: WatchPlace, champion: ModelVersion, profile: ReferenceProfile, state: WatchState) -> Gathered:
    """Find everything that is new."""
    most = max(_MOST_ROWS, 2 * place.settings.monitor.window)
    begins = state.evidence is None or state.evidence.model_version != champion.version
    arrivals = Arrivals(
        log=place.log,
        begin=state.seen_until,
        stretch=new_stretch(place.log.predictions, state.seen_until, most),
        load=lambda version: load_profile(place.engine, place.objects, place.name, version),
        whole_minutes=bool(place.settings.data.group),
    )
    arrivals.know(profile)
    if state.open_rows is None:
        state = replace(state, open_rows=arrivals.open_rows(state.windows_until, state.seen_until))
    return Gathered(
        champion=champion,
        profile=profile,
        state=state,
        arrivals=arrivals,
        labels=new_labels(place.log, state.labels_until, state.waiting),
        units_per_quarter=evidence_per_quarter(place) if begins else {},
        answered=answers(place.engine, place.log, place.name),
    )


def new_labels(log: PredictionLog, cursor: Cursor, waiting: Sequence[Label]) -> NewLabels:
    """The labels beyond the cursor, and those that were waiting, with their predictions."""
    arrived = log.new_labels(cursor)
    first = _first_sequences(log, [label.id for label in arrived.rows])
    candidates = {label.id: label for label in waiting}
    for label in arrived.rows:
        if label.sequence <= first.get(label.id, label.sequence):
            candidates.setdefault(label.id, label)
    predictions = log.predictions_by_id(candidates)
    oldest = now() - _LONGEST_WAIT
    still = [label for label in candidates.values() if label.id not in predictions and label.at >= oldest]
    return NewLabels(
        pairs=tuple((label, predictions[label.id]) for label in candidates.values() if label.id in predictions),
        waiting=tuple(still[-_MOST_WAITING:]),
        cursor=arrived.cursor,
    )


def evidence_per_quarter(place: WatchPlace) -> dict[str, float]:
    """Predictions, and labels that may measure, in ninety days, at the rate of the last seven."""
    found = units_per_quarter(place.log)
    if not place.settings.monitor.feedback_is_random:
        # Only labels that the audit drew are evidence then.
        audited = audit_answers(place.engine, place.name, now() - _RATE_OVER)
        found[HARM] = _QUARTER_DAYS / _RATE_OVER.days * audited
    return found


def units_per_quarter(log: PredictionLog) -> dict[str, float]:
    """Predictions and labels in ninety days, at the rate of the last seven."""
    since = now() - _RATE_OVER
    scale = _QUARTER_DAYS / _RATE_OVER.days
    frames = {GROSS: log.predictions.scan(), HARM: log.labels.scan()}
    counts = {}
    for lane, frame in frames.items():
        counts[lane] = 0.0
        if frame is not None:
            recent = frame.filter((pl.col("date") >= since.date().isoformat()) & (pl.col("at") >= since))
            counts[lane] = scale * int(recent.select(pl.len()).collect().item())
    return counts


def _first_sequences(log: PredictionLog, ids: Sequence[str]) -> dict[str, int]:
    """The lowest sequence of each id: a second label of the same prediction is a correction, not a second trial."""
    frame = log.labels.scan()
    if frame is None or not ids:
        return {}
    lowest = frame.filter(pl.col("id").is_in(list(set(ids)))).group_by("id").agg(pl.col("sequence").min()).collect()
    return dict(zip(lowest["id"].to_list(), lowest["sequence"].to_list(), strict=True))
