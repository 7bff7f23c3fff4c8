"""Known answers: confidence that is honest, too high, and made honest by a temperature."""

import numpy as np
import pytest

from models.calibration import at_temperature_one, calibration_error, confidence_bins
from models.runtime import softmax


def test_honest_confidence_has_no_calibration_error():
    right = np.array([True] * 8 + [False] * 2)

    assert calibration_error(np.full(10, 0.8), right) == pytest.approx(0.0)
    assert calibration_error(np.full(10, 1.0), right) == pytest.approx(0.2)


def test_errors_in_opposite_directions_do_not_cancel_each_other():
    confidence = np.array([0.9, 0.9, 0.5, 0.5], dtype=np.float32)
    right = np.array([True, False, True, True])

    # Of half the images the gap is 0.9 - 0.5, of the other half 1.0 - 0.5.
    assert calibration_error(confidence, right) == pytest.approx(0.5 * 0.4 + 0.5 * 0.5)


def test_bins_count_every_answer_once_and_say_nothing_where_there_is_none():
    bins = confidence_bins(np.array([1.0, 0.97, 0.5], dtype=np.float32), np.array([True, False, True]))

    assert sum(one.images for one in bins) == 3
    assert (bins[-1].images, bins[-1].accuracy) == (2, 0.5)
    assert bins[-1].confidence == pytest.approx(0.985)
    assert (bins[0].images, bins[0].confidence, bins[0].accuracy) == (0, None, None)


@pytest.mark.parametrize("temperature", [0.3, 1.0, 4.0])
def test_the_probabilities_before_the_temperature_come_back(temperature):
    logits = np.random.default_rng(0).normal(0, 3, (50, 4)).astype(np.float32)

    found = at_temperature_one(softmax(logits, temperature), temperature)

    assert found == pytest.approx(softmax(logits), abs=1e-5)
