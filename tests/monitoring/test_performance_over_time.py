"""Accuracy by day of prediction and of labelling, and what labels of odd kinds make of it."""

from datetime import UTC, datetime, timedelta

import numpy as np
import polars as pl
import pytest

from monitoring.quality.over_time import LABELLED, PREDICTED, by_day
from monitoring.quality.timed import TimedAnswers, timed_answers

NOON = datetime(2026, 11, 10, 12, tzinfo=UTC)
_TIME = pl.Datetime("us", "UTC")
_COLUMNS = {"id": pl.String(), "true_label": pl.String(), "label": pl.String(), "confidence": pl.Float32(),
            "at": _TIME, "labelled_at": _TIME}  # fmt: skip


def told(*rows: tuple[str, str, float, float], confidence: float | None = 0.9) -> TimedAnswers:
    """Each row: truth, answer, days after noon of the prediction and of its label."""
    truth, said, predicted, labelled = zip(*rows, strict=True) if rows else ((), (), (), ())
    return timed_answers(
        pl.DataFrame(
            {
                "id": [str(place) for place in range(len(rows))],
                "true_label": truth,
                "label": said,
                "confidence": [confidence] * len(rows),
                "at": [NOON + timedelta(days=day) for day in predicted],
                "labelled_at": [NOON + timedelta(days=day) for day in labelled],
            },
            schema=_COLUMNS,
        )
    )


def test_an_answer_counts_on_its_own_day_or_on_the_day_of_its_label():
    answers = told(("owl", "owl", 0, 3), ("owl", "duck", 0, 1), ("duck", "duck", 1, 1), ("duck", "duck", 1, 3))

    predicted, labelled = by_day(answers, PREDICTED), by_day(answers, LABELLED)

    assert [(one.started_at.day, one.right, one.images) for one in predicted] == [(10, 1, 2), (11, 2, 2)]
    assert [(one.started_at.day, one.right, one.images) for one in labelled] == [(11, 1, 2), (13, 2, 2)]
    duck = next(one for one in predicted[0].classes if one.label == "duck")
    assert (duck.images, duck.answered, duck.precision.value, duck.recall.value) == (0, 1, 0.0, None)


def test_no_label_at_all_is_no_period():
    assert by_day(told(), PREDICTED) == ()


def test_hundreds_of_thousands_of_labels_are_counted_in_one_pass():
    chance = np.random.default_rng(0)
    count, classes = 300_000, tuple("abcdefghij")
    times = 1_760_000_000_000_000 + np.sort(chance.integers(0, 90 * 86_400_000_000, count))
    truth = chance.integers(0, 10, count)
    answers = TimedAnswers(
        (), classes, truth, np.where(chance.random(count) < 0.8, truth, 0), np.full(count, 0.8), times, times
    )

    days = by_day(answers, PREDICTED)

    assert sum(day.images for day in days) == count
    assert all(day.accuracy.value == pytest.approx(0.82, abs=0.02) for day in days[1:-1])


def test_classes_that_the_model_lacks_are_named():
    answers = told(("heron", "owl", 0, 0), ("owl", "owl", 0, 0))

    assert answers.unknown(("owl", "duck")) == ("heron",)
    assert answers.right.tolist() == [False, True]


def test_a_time_that_answers_do_not_have_is_refused():
    with pytest.raises(ValueError, match='either "predicted" or "labelled"'):
        by_day(told(), "guessed")
