"""Estimates corrected by asked labels: the simulated figures of the specification, and when there is none."""

from dataclasses import replace

import numpy as np
import pytest

from models.intervals import wilson
from monitoring.estimates.asked import Asked, expected_of
from monitoring.estimates.corrected import CORRECTED, NONE, UNIFORM, corrected
from monitoring.estimates.prediction_powered import best_weight, corrected_mean
from monitoring.estimates.responses import responses
from monitoring.reference.coded import Coded
from tests.monitoring.audited_worlds import world


def simulated(labels: int, runs: int, *, by_doubt: bool, concept_drift: float = 0.0) -> tuple[float, float]:
    """Mean half-width in points and coverage; the weight comes from 200 labels of another period."""
    half, inside = [], []
    for run in range(runs):
        chance = np.random.default_rng([run, labels])
        now, before = (world(chance, concept_drift=concept_drift) for _ in range(2))
        weight = best_weight(before.ask(200, chance, by_doubt=True)) if by_doubt else 0.0
        found = corrected_mean(now.ask(labels, chance, by_doubt=by_doubt), now.everyone, weight)
        half.append(50 * (found.high - found.low))
        inside.append(found.low <= now.right.mean() <= found.high)
    return float(np.mean(half)), float(np.mean(inside))


@pytest.mark.parametrize(("labels", "uniform", "planned"), [(50, 10.2, 8.9), (100, 7.3, 6.3), (400, 3.7, 3.1)])
def test_confidences_and_a_plan_narrow_the_interval_as_specified_and_it_still_covers(labels, uniform, planned):
    plain, covered_plain = simulated(labels, 100, by_doubt=False)
    better, covered_better = simulated(labels, 100, by_doubt=True)

    assert plain == pytest.approx(uniform, rel=0.08)
    assert better <= planned
    assert min(covered_plain, covered_better) >= 0.88


def test_under_concept_drift_labels_still_cover_and_confidences_alone_never_do():
    _, covered = simulated(100, 100, by_doubt=True, concept_drift=0.15)
    drifted = world(np.random.default_rng(1), concept_drift=0.15)

    expected = drifted.everyone
    assert covered >= 0.9
    assert abs(expected.mean - drifted.right.mean()) > 1.96 * expected.error + 0.1


def test_asking_more_about_doubtful_pictures_does_not_make_the_model_look_worse():
    found, naive = [], []
    for run in range(60):
        chance = np.random.default_rng([2, run])
        one = world(chance)
        asked = one.ask(200, chance, by_doubt=True)
        found.append(corrected_mean(asked, one.everyone, 0.0).value - one.right.mean())
        naive.append(asked.right.mean() - one.right.mean())

    assert np.mean(found) == pytest.approx(0, abs=0.01)
    assert np.mean(naive) < -0.03


def test_worthless_confidences_get_no_weight_and_honest_ones_nearly_all():
    chance = np.random.default_rng(3)
    asked = world(chance).ask(2_000, chance, by_doubt=False)

    assert best_weight(asked) > 0.8
    assert best_weight(replace(asked, expected=chance.permutation(asked.expected))) < 0.1


@pytest.mark.parametrize(
    ("labels", "rests_on"), [(0, NONE), (29, NONE), (30, UNIFORM), (99, UNIFORM), (100, CORRECTED)]
)
def test_how_many_labels_there_are_decides_what_the_estimate_rests_on(labels, rests_on):
    asked = chosen(labels, wrong=labels // 5)

    found = corrected(asked, expected_of(np.full(1_000, 0.8)), chosen(200, wrong=40))

    assert found.rests_on == rests_on
    assert (found.accuracy.value is None) == (rests_on == NONE)
    if rests_on == NONE:
        assert found.notes == (f"not enough evidence: {labels} of 30 labels",)


def test_labels_drawn_by_doubt_alone_are_not_taken_for_a_random_sample():
    asked = chosen(60, wrong=20)
    doubtful = replace(asked, in_audit=np.arange(60) < 10)

    found = corrected(doubtful, expected_of(np.full(1_000, 0.8)), chosen(0))

    assert found.rests_on == NONE
    assert "10 of 30 labels drawn by chance alone" in found.notes[0]


def test_a_hundred_labels_without_an_error_do_not_make_certain():
    found = corrected(chosen(150, wrong=0), expected_of(np.full(1_000, 0.99)), chosen(200, wrong=2))

    assert found.rests_on == UNIFORM
    assert found.accuracy.low == pytest.approx(0.975, abs=0.001)


def test_labels_that_do_not_come_are_counted_by_kind_and_bound_the_estimate():
    asked = chosen(200, wrong=30)
    silent = replace(asked, answered=np.arange(200) % 10 >= 3, strata=Coded(("audit",), np.zeros(200, dtype=np.int32)))

    found = corrected(silent, expected_of(np.full(1_000, 0.85)), chosen(200, wrong=30))

    assert [(one.stratum, one.settled, one.answered) for one in responses(silent)] == [("audit", 200, 140)]
    assert "70 % of the requests" in found.notes[-1]
    assert found.worst_case.low < found.accuracy.low - 0.1
    assert found.worst_case.high > found.accuracy.high + 0.02


def test_who_answers_keeps_the_estimate_without_bounds():
    found = corrected(chosen(200, wrong=30), expected_of(np.full(1_000, 0.85)), chosen(200, wrong=30))

    assert found.worst_case is None


def test_copies_of_one_picture_count_as_one_piece_of_evidence():
    chance = np.random.default_rng(4)
    one = chosen(50, wrong=10)
    copies = replace(one.take(np.repeat(np.arange(50), 20)), groups=np.repeat(np.arange(50), 20))
    everyone = expected_of(chance.uniform(0.7, 0.9, 5_000))

    alone, copied = corrected_mean(one, everyone, 0.0), corrected_mean(copies, everyone, 0.0)

    assert copied.high - copied.low == pytest.approx(alone.high - alone.low, rel=0.05)


@pytest.mark.parametrize("probability", [0.0, -1.0, np.nan, 1.5])
def test_a_probability_that_cannot_be_leaves_its_label_out(probability):
    asked = chosen(150, wrong=30)
    spoiled = replace(asked, probability=np.where(np.arange(150) < 20, probability, asked.probability))

    found = corrected(spoiled, expected_of(np.full(1_000, 0.8)), chosen(200, wrong=40))

    assert found.labels == 130
    assert np.isfinite(found.accuracy.value)


@pytest.mark.parametrize("wrong", [0, 12, 60])
def test_a_stuck_camera_that_was_labelled_once_is_one_label_and_not_sixty(wrong):
    stuck = replace(chosen(60, wrong=wrong), groups=np.zeros(60, dtype=np.intp))

    found = corrected(stuck, expected_of(np.full(1_000, 0.9)), chosen(0))

    assert found.rests_on == UNIFORM
    assert found.accuracy.high - found.accuracy.low > 0.75
    assert "the 60 labels drawn by chance are worth about 1" in found.notes[0]


def test_a_quiet_hour_of_which_more_was_drawn_does_not_speak_for_a_busy_one():
    # 40 of 80 predictions at night, all of them wrong; 40 of 4,000 by day, all of them right.
    night = np.arange(80) < 40
    asked = replace(chosen(80, wrong=40), uniform=np.where(night, 0.5, 0.01))

    found = corrected(asked, expected_of(np.full(4_080, 0.9)), chosen(0))

    assert found.accuracy.value == pytest.approx(4_000 / 4_080)
    assert found.accuracy.low < 0.95


def test_labels_drawn_alike_and_of_unlike_pictures_have_wilson_s_own_interval():
    found = corrected(chosen(60, wrong=12), expected_of(np.full(1_000, 0.9)), chosen(0))

    assert (found.accuracy.low, found.accuracy.high) == pytest.approx(wilson(48, 60))
    assert found.notes == ()


def chosen(labels: int, wrong: int = 0) -> Asked:
    """Labels drawn by chance, the first of them errors; expectations around 0.8."""
    return Asked(
        answered=np.ones(labels, dtype=bool),
        right=np.arange(labels) >= wrong,
        expected=np.linspace(0.6, 1.0, labels),
        probability=np.full(labels, 0.1),
        uniform=np.full(labels, 0.1),
        in_audit=np.ones(labels, dtype=bool),
        strata=Coded(("audit", "uncertain"), np.zeros(labels, dtype=np.int32)),
        groups=np.arange(labels),
    )
