"""Intervals over groups: they hold the truth about as often as they say, also where images of a group are alike."""

import numpy as np
import pytest

from models.bootstrap import resample_groups
from models.intervals import wilson

CLASSES = 3


def drawn(chance: np.random.Generator, groups: int = 60, each: int = 4) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """Answers that are right for 80 % of the groups, all images of a group alike; wrong ones are the next class."""
    labels = np.repeat(chance.integers(0, CLASSES, groups), each)
    right = np.repeat(chance.random(groups) < 0.8, each)
    return (
        labels,
        np.where(right, labels, (labels + 1) % CLASSES),
        np.repeat(np.arange(groups), each).astype(str).tolist(),
    )


@pytest.mark.slow
def test_the_truth_lies_within_about_as_often_as_promised():
    chance = np.random.default_rng(3)
    trials = 40

    accuracy, macro_recall, blind = 0, 0, 0
    for _ in range(trials):
        labels, answers, groups = drawn(chance)
        found = resample_groups(labels, answers, groups, CLASSES)
        accuracy += found.accuracy[0] <= 0.8 <= found.accuracy[1]
        macro_recall += found.macro_recall[0] <= 0.8 <= found.macro_recall[1]
        low, high = wilson(int((labels == answers).sum()), len(labels))
        blind += low <= 0.8 <= high

    # Of 40 trials at 95 % fewer than 34 hold the truth about once in 300 times.
    assert accuracy >= 34
    assert macro_recall >= 34
    assert blind < 34, "who takes the images of a group for independent promises too much"


def test_the_same_answers_always_have_the_same_intervals():
    labels, answers, groups = drawn(np.random.default_rng(0))

    assert resample_groups(labels, answers, groups, CLASSES) == resample_groups(labels, answers, groups, CLASSES)


def test_answers_that_are_all_right_promise_no_more_than_their_number_allows():
    labels = np.arange(30) % CLASSES

    found = resample_groups(labels, labels, [str(place) for place in range(30)], CLASSES)

    assert found.accuracy == pytest.approx(wilson(30, 30))
    assert found.macro_recall == pytest.approx(wilson(30, 30))
    assert found.f1[0] == pytest.approx(wilson(10, 10))


def test_a_class_without_images_has_no_interval():
    labels = np.array([0, 0, 1, 1, 1])

    found = resample_groups(labels, np.array([0, 2, 1, 1, 1]), list("abcde"), CLASSES)

    assert found.f1[2] is None
    assert found.f1[1] is not None


def test_every_interval_holds_the_score_it_belongs_to():
    labels, answers, groups = drawn(np.random.default_rng(1), groups=5)
    score = float((labels == answers).mean())

    low, high = resample_groups(labels, answers, groups, CLASSES).accuracy

    assert 0 <= low <= score <= high <= 1
