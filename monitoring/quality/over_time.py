"""Accuracy over time: by when an answer was given, which is what it was worth, and by when its label came."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from monitoring.performance import ClassPerformance, Interval, class_performances, share
from monitoring.quality.timed import Moments, TimedAnswers, moment

PREDICTED, LABELLED = "predicted", "labelled"
_MOST_PERIODS = 1_000


@dataclass(frozen=True)
class Period:
    """
    Labelled answers of one stretch of time; stretches without any are left out.

    Attributes:
        started_at, ended_at: Of the stretch; the end itself belongs to the next one.
        classes: With at least one answer or image in it, in the order of their names.
    """

    started_at: datetime
    ended_at: datetime
    images: int
    right: int
    accuracy: Interval
    mean_confidence: float | None
    classes: tuple[ClassPerformance, ...]


def by_day(answers: TimedAnswers, of: str, day: timedelta = timedelta(days=1)) -> tuple[Period, ...]:
    """
    One row a day (UTC) with any label, oldest first; the newest 1,000 days with any.

    Args:
        answers: Labelled predictions.
        of: "predicted" or "labelled": which of an answer's two times counts.
        day: Another length than a day.
    """
    length = max(1, round(day / timedelta(microseconds=1)))
    number = _times(answers, of) // length
    days = np.unique(number)[-_MOST_PERIODS:]
    places = np.searchsorted(days, number)
    inside = number >= (days[0] if len(days) else 0)
    edges = [(int(one) * length, (int(one) + 1) * length) for one in days]
    return tuple(_periods(answers, np.where(inside, places, -1), edges).values())


def _periods(answers: TimedAnswers, place: NDArray[np.intp], edges: Sequence[tuple[int, int]]) -> dict[int, Period]:
    """Counted in one pass over all rows; `place` is the period of each row, -1 for none."""
    inside, periods, classes = place >= 0, len(edges), len(answers.classes)
    where, truth, said = place[inside], answers.truth[inside], answers.answered[inside]
    hit, sure = truth == said, answers.confidence[inside]
    images = np.bincount(where, minlength=periods)
    right = np.bincount(where[hit], minlength=periods)
    known = np.isfinite(sure)
    confident, told = (np.bincount(where[known], weights, periods) for weights in (sure[known], None))
    # (periods, classes): images of each class, answers that named it, and those that did so rightly.
    cells = [
        np.bincount(where * classes + codes, minlength=periods * classes).reshape(periods, classes)
        for where, codes in ((where, truth), (where, said), (where[hit], truth[hit]))
    ]
    return {
        one: Period(
            started_at=moment(edges[one][0]),
            ended_at=moment(edges[one][1]),
            images=int(images[one]),
            right=int(right[one]),
            accuracy=share(int(right[one]), int(images[one])),
            mean_confidence=float(confident[one] / told[one]) if told[one] else None,
            classes=class_performances(answers.classes, *(cell[one] for cell in cells)),
        )
        for one in np.flatnonzero(images).tolist()
    }


def _times(answers: TimedAnswers, of: str) -> Moments:
    if of not in (PREDICTED, LABELLED):
        raise ValueError(f'{of!r} is no time of an answer; it is either "{PREDICTED}" or "{LABELLED}"')
    return answers.predicted_at if of == PREDICTED else answers.labelled_at


def _number(at: datetime) -> int:
    return (at.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
