"""Calibration in bins of equal size: known errors, honest confidences, and an interval that covers."""

import numpy as np
import pytest

from monitoring.quality.reliability import reliability


def test_confidence_that_promises_ten_points_too_much_is_ten_points_off():
    chance = np.random.default_rng(0)
    confidence = chance.uniform(0.6, 1.0, 4_000)

    found = reliability(confidence, chance.random(4_000) < confidence - 0.1)

    assert found.error.value == pytest.approx(0.1, abs=0.02)
    assert found.error.low > 0.05
    assert found.honest < 0.03
    assert len({one.answers for one in found.bins}) <= 2


def test_the_interval_covers_the_true_error_and_honesty_is_not_called_an_error():
    inside, least = 0, []
    for run in range(80):
        chance = np.random.default_rng([1, run])
        confidence = chance.uniform(0.5, 1.0, 600)
        found = reliability(confidence, chance.random(600) < confidence - 0.04)
        inside += found.error.low <= 0.04 <= found.error.high
        least.append(reliability(confidence, chance.random(600) < confidence).error.low)

    assert inside >= 70
    assert np.mean(np.array(least) == 0) >= 0.9


def test_equal_confidences_share_a_bin():
    found = reliability(np.full(500, 0.7, dtype=np.float32), np.arange(500) < 350)

    assert [(one.answers, one.right.value) for one in found.bins] == [(500, 0.7)]
    assert found.error.value == pytest.approx(0.0, abs=1e-6)


@pytest.mark.parametrize("confidence", [np.empty(0), np.full(5, np.nan), np.array([1.7, -0.2, np.inf])])
def test_without_usable_confidence_nothing_is_claimed(confidence):
    found = reliability(confidence, np.ones(len(confidence), dtype=bool))

    assert (found.answers, found.left_out) == (0, len(confidence))
    assert found.error.value is None
    assert found.bins == ()
