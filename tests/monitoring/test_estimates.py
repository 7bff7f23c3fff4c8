"""Accuracy without labels: near the truth where confidences hold, and never without its flag and its caveat."""

from dataclasses import replace

import numpy as np
import pytest

from monitoring.estimates.estimate import CAVEAT, estimate
from monitoring.estimates.methods import share_above, threshold
from monitoring.estimates.resampling import spread_by_groups
from monitoring.watching.batch import Batch
from tests.monitoring.scored_worlds import CLASSES, accuracy, answers, profile_of


@pytest.fixture(scope="module")
def profile():
    return profile_of(*answers(np.random.default_rng(1), 1_500))


def test_doubtful_pictures_are_estimated_to_be_answered_worse_and_about_right(profile):
    for seed, sharpness in enumerate((3.0, 2.0, 1.2)):
        batch, truth = answers(np.random.default_rng([2, seed]), 3_000, sharpness=sharpness)

        found = estimate(profile, batch, gross_quiet=True)

        # Honest confidences are the calibrated method's home; the other one exaggerates, and the interval says so.
        assert found.methods.confidence_based == pytest.approx(accuracy(batch, truth), abs=0.03)
        assert found.accuracy.low < accuracy(batch, truth) < found.accuracy.high
        assert found.accuracy.value == pytest.approx(accuracy(batch, truth), abs=0.1)
    assert found.loss.value > 0.15
    assert found.loss.low > 0


def test_intervals_cover_the_truth_as_often_as_they_say():
    covered = 0
    for seed in range(40):
        chance = np.random.default_rng([3, seed])
        found = estimate(profile_of(*answers(chance, 500)), (window := answers(chance, 400))[0], gross_quiet=True)
        covered += found.accuracy.low <= accuracy(*window) <= found.accuracy.high

    assert covered >= 36


def test_a_small_reference_makes_the_interval_wide_however_many_predictions_there_are():
    batch, _ = answers(np.random.default_rng(4), 20_000)

    few, many = (
        estimate(profile_of(*answers(np.random.default_rng(5), images)), batch, gross_quiet=True)
        for images in (150, 5_000)
    )

    width = [found.accuracy.high - found.accuracy.low for found in (few, many)]
    assert width[0] > 3 * width[1]
    # The binomial interval of so many predictions, by which the estimate would pretend to be sure.
    assert width[1] > 2 * 1.96 * np.sqrt(0.1 / 20_000)


def test_concept_drift_goes_unseen_and_the_estimate_says_that_it_may(profile):
    batch, truth = answers(np.random.default_rng(6), 2_000)
    renamed = [CLASSES[(CLASSES.index(label) + 1) % 3] for label in truth]

    found = estimate(profile, batch, gross_quiet=True)

    assert accuracy(batch, renamed) < 0.2
    assert found.accuracy.value > 0.8
    assert found.caveat == CAVEAT
    assert "concept drift is not excluded" in found.caveat.lower()


def test_an_estimate_counts_only_while_the_gross_lane_is_quiet(profile):
    batch, _ = answers(np.random.default_rng(7), 400)

    assert estimate(profile, batch, gross_quiet=True).valid
    loud = estimate(profile, batch, gross_quiet=False)
    assert not loud.valid
    assert "gross change" in loud.reasons[0]


def test_methods_that_disagree_make_it_invalid_and_the_interval_wide(profile):
    batch, _ = answers(np.random.default_rng(8), 400)
    # Half of the answers are flat between two classes, which entropy and confidence read differently.
    strange = batch.probabilities.copy()
    strange[::2] = (0.55, 0.45, 0.0)

    found = estimate(profile, replace(batch, probabilities=strange), gross_quiet=True)

    assert not found.valid
    assert any("points apart" in reason for reason in found.reasons)
    assert found.accuracy.high - found.accuracy.low > found.methods.disagreement


def test_probabilities_without_their_temperature_are_not_trusted():
    batch, truth = answers(np.random.default_rng(9), 1_500, too_sure=2.5)

    found = estimate(profile_of(batch, truth), batch, gross_quiet=True)

    assert not found.valid
    assert any("temperature" in reason for reason in found.reasons)


def test_subgroups_are_estimated_from_two_hundred_predictions(profile):
    sizes = (("A", 900, 3.0), ("B", 400, 1.0), ("C", 150, 1.0))
    parts = [
        answers(np.random.default_rng([10, place]), count, sharpness=sharpness, camera=camera)[0]
        for place, (camera, count, sharpness) in enumerate(sizes)
    ]
    batch = Batch(
        *(np.concatenate([getattr(part, name) for part in parts])
          for name in ("statistics", "probabilities", "embedding")),
        labels=tuple(label for part in parts for label in part.labels),
        metadata=tuple(row for part in parts for row in part.metadata),
    )  # fmt: skip

    found = {one.value: one for one in estimate(profile, batch, gross_quiet=True, subgroups=["camera"]).subgroups}

    assert (found["A"].reference, found["B"].reference) == ("its own images", "all images")
    assert found["B"].accuracy.value < found["A"].accuracy.value - 0.15
    assert found["C"].accuracy.value is None
    assert found["C"].reasons == ("not enough evidence: 150 of 200 predictions",)


@pytest.mark.parametrize("count", [0, 1, 12])
def test_too_few_predictions_are_named(profile, count):
    batch, _ = answers(np.random.default_rng(11), count)

    found = estimate(profile, batch, gross_quiet=True)

    assert not found.valid
    assert found.reasons[0] == f"not enough evidence: {count} of 50 predictions"


def test_missing_probabilities_are_left_out_and_counted(profile):
    batch, _ = answers(np.random.default_rng(12), 300)
    holes = batch.probabilities.copy()
    holes[:100] = np.nan

    found = estimate(profile, replace(batch, probabilities=holes), gross_quiet=True)
    nothing = estimate(profile, replace(batch, probabilities=np.full((300, 3), np.nan)), gross_quiet=True)

    assert (found.predictions, found.used) == (300, 200)
    assert found.valid
    assert nothing.accuracy.value is None
    assert not nothing.valid


@pytest.mark.parametrize("truth", [[], [""] * 600, ["heron"] * 600])
def test_a_reference_without_truth_gives_no_estimate(truth):
    batch, _ = answers(np.random.default_rng(13), 600)
    blind = replace(profile_of(batch, list(batch.labels)), truth=tuple(truth))

    found = estimate(blind, batch, gross_quiet=True)

    assert found.accuracy.value is None
    assert "0 of at least 100 held-out images with truth" in found.reasons[0]


def test_one_class_and_numbers_of_single_precision_are_no_obstacle():
    batch, _ = answers(np.random.default_rng(14), 400)
    sure = np.zeros((400, 3), dtype=np.float32)
    sure[:, 0] = 1
    same = replace(batch, probabilities=sure, labels=("crow",) * 400)

    found = estimate(profile_of(same, ["crow"] * 400), same, gross_quiet=True)

    assert found.accuracy.value == 1.0


def test_the_same_window_gives_the_same_estimate(profile):
    batch, _ = answers(np.random.default_rng(15), 300)

    assert estimate(profile, batch, gross_quiet=True) == estimate(profile, batch, gross_quiet=True)


def test_the_threshold_is_reached_by_as_many_as_were_right():
    scores = np.arange(100, dtype=float)

    limit = threshold(scores, np.arange(100) >= 20)

    assert share_above(scores, limit) == pytest.approx(0.8)
    assert share_above(scores - 10, limit) == pytest.approx(0.7)


def test_rows_of_one_session_say_less_than_rows_that_stand_alone():
    chance = np.random.default_rng(16)
    values = np.repeat(chance.normal(0, 1, 40), 25)

    alone, together = spread_by_groups(values, None), spread_by_groups(values, np.repeat(np.arange(40), 25))

    assert together == pytest.approx(5 * alone, rel=0.05)
