"""What labels say beyond a window's own figures: how complete they are, and where ADWIN would have cut them."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl

from monitoring.labelling.requests import ANSWERED, LabelRequest
from monitoring.labelling.rows import requests
from monitoring.quality.adwin import Cut, cuts
from monitoring.quality.label_arrivals import LabelArrivals, label_arrivals
from monitoring.quality.maturity import maturity, maturity_curve
from monitoring.quality.records import DrawnCut, WindowMaturity
from monitoring.quality.timed import COLUMNS, TimedAnswers, moment, timed_answers
from monitoring.watching.place import WatchPlace
from monitoring.watching.surroundings import LabelledFacts, WindowLabels
from monitoring.windows import window_spans

_SINCE = timedelta(days=30)
_MOST_WINDOWS = 10
_MOST_CUTS = 20
_MOST_PREDICTIONS = 3_000_000


def labelled_facts(place: WatchPlace, version: int, present: datetime) -> LabelledFacts:
    """Of one version, from ids and times of at most thirty days and three million predictions, and the labels."""
    since = _since(place, present)
    asked = [one for one in requests(place.engine, place.name, (ANSWERED,)) if one.model_version == version]
    frame = place.log.labelled(since.date(), COLUMNS)
    answers = timed_answers(frame.filter((pl.col("at") >= since) & (pl.col("model_version") == version)))
    arrivals = label_arrivals(place.log, since, version)
    return LabelledFacts(
        tuple(
            WindowLabels(one.sequence, one.maturity.labels, one.maturity.expected, one.maturity.words)
            for one in window_maturities(place, version, since, arrivals, present)
        ),
        adwin_cuts(answers, asked, random=place.settings.monitor.feedback_is_random),
    )


def _since(place: WatchPlace, present: datetime) -> datetime:
    """Thirty days ago, or so many whole days that the predictions since then fit into memory; at least the newest."""
    since = present - _SINCE
    frame = place.log.predictions.scan()
    if frame is None:
        return since
    days = frame.filter(pl.col("date") >= since.date().isoformat()).group_by("date").agg(pl.len()).collect()
    counted = days.sort("date", descending=True).with_columns(pl.col("len").cum_sum())
    kept = counted.filter((pl.col("len") <= _MOST_PREDICTIONS) | (pl.int_range(pl.len()) == 0))
    if kept.height == counted.height:
        return since
    return max(since, datetime.fromisoformat(kept["date"][-1]).replace(tzinfo=UTC))


def window_maturities(
    place: WatchPlace,
    version: int,
    since: datetime,
    arrivals: LabelArrivals,
    present: datetime,
) -> tuple[WindowMaturity, ...]:
    """The newest windows of a version, each with how complete its labels are."""
    curve = maturity_curve(arrivals.predicted_at, arrivals.labelled_at, present)
    found = []
    for window in window_spans(place.engine, place.name, since, version, _MOST_WINDOWS):
        inside = arrivals.between(window.started_at, window.ended_at)
        of_window = maturity(curve, inside.predicted_at, inside.labels, present)
        found.append(WindowMaturity(window.sequence, window.ended_at, of_window))
    return tuple(found)


def adwin_cuts(answers: TimedAnswers, asked: Sequence[LabelRequest], *, random: bool) -> tuple[DrawnCut, ...] | None:
    """In the order of arrival, of labels that may measure: all of them, or those the audit sample drew."""
    drawn = {one.prediction_id for one in asked if one.in_audit and one.state == ANSWERED}
    if not random and not drawn:
        return None
    if not random:
        answers = answers.take(np.array([name in drawn for name in answers.ids], dtype=bool))
    return _dated(answers, cuts(~answers.right))


def _dated(answers: TimedAnswers, found: Sequence[Cut]) -> tuple[DrawnCut, ...]:
    return tuple(
        DrawnCut(
            moment(answers.labelled_at[one.began]),
            moment(answers.labelled_at[one.noticed]),
            one.error_before,
            one.error_after,
        )
        for one in found[-_MOST_CUTS:]
    )
