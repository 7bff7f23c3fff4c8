import numpy as np
import pytest

from monitoring.detectors.columns import Numbers
from monitoring.detectors.detection import Detection
from monitoring.detectors.rank_bins import bins_of
from monitoring.detectors.whole_window import compare_window
from monitoring.reference.fit import fit
from monitoring.reference.profile import ReferenceProfile
from monitoring.watching.batch import Batch

CLASSES = tuple(str(place) for place in range(5))


def predictions(count: int, chance: np.random.Generator) -> Batch:
    """Rows whose columns depend on each other: probabilities, features and statistics have common causes."""
    causes = chance.normal(0, 1, (count, 12))
    powers = np.exp(3 * causes[:, :5])
    shares = powers / powers.sum(axis=1, keepdims=True)
    statistics = causes[:, 2:11] @ (np.eye(9) + 0.5)
    statistics[:, 5] = 0.0
    labels = tuple(CLASSES[place] for place in shares.argmax(axis=1))
    cameras = tuple({"camera": "AB"[place]} for place in chance.integers(0, 2, count))
    return Batch(statistics, shares, causes, labels, cameras)


def profile_of(batch: Batch) -> ReferenceProfile:
    return fit(batch, batch.labels, version=1, classes=CLASSES, rounds=1, judged_errors={})


def alarms(windows: int, size: int, seed: int, references: int = 200) -> float:
    chance = np.random.default_rng(seed)
    p_values = [
        compare_window(profile_of(predictions(references, chance)), predictions(size, chance)).p_value
        for _ in range(windows)
    ]
    return float(np.mean(np.array(p_values) <= 0.05))


@pytest.mark.slow
@pytest.mark.parametrize("size", [10, 300])
def test_one_clean_window_in_twenty_alarms_at_most_although_columns_depend_on_each_other(size):
    # 100 windows: the standard error of 0.05 is 0.022.
    assert alarms(100, size, seed=size) <= 0.05 + 2 * 0.022


def test_a_tenth_of_the_rows_far_outside_is_seen_where_the_middle_has_not_moved():
    chance = np.random.default_rng(3)
    profile = profile_of(predictions(1_000, chance))
    window = predictions(60, chance)
    window.statistics[:6, 4] += 9

    found = compare_window(profile, window)

    assert found.p_value < 0.001


def test_a_window_has_the_same_p_value_at_every_look():
    chance = np.random.default_rng(9)
    profile = profile_of(predictions(200, chance))
    windows = [predictions(40, chance) for _ in range(15)]

    first = [compare_window(profile, window).p_value for window in windows]

    assert first == [compare_window(profile, window).p_value for window in windows]
    # Some of them come from dealing the rows out afresh, whose answers are whole shares.
    assert any(0.001 < p < 0.5 for p in first)


@pytest.mark.parametrize("count", [0, 3, 9])
def test_too_few_predictions_are_called_so(count):
    chance = np.random.default_rng(0)

    found = compare_window(profile_of(predictions(100, chance)), predictions(count, chance))

    assert (found.p_value, found.changed) == (None, False)
    assert found.words == f"not enough evidence: {count} of 10 predictions"


def test_the_words_name_what_differs_most():
    chance = np.random.default_rng(0)
    told = Detection("image statistics", "warmth", 0.9, 0.9, 1e-9)
    window = predictions(50, chance)
    window.statistics[:, 7] += 50

    found = compare_window(profile_of(predictions(300, chance)), window, detections=[told])

    assert (
        found.words
        == "differs from the reference (p < 0.001, 50 predictions), most clearly in warmth (image statistics)"
    )


def test_a_users_detector_gets_its_share_of_the_chance_and_no_more():
    chance = np.random.default_rng(1)
    profile, window = profile_of(predictions(300, chance)), predictions(50, chance)
    alone = compare_window(profile, window).p_value

    quiet = compare_window(profile, window, added=[Detection("own", "nothing", 0.0, 0.0, 1.0)]).p_value
    loud = compare_window(profile, window, added=[Detection("own", "all", 9.0, 1.0, 1e-4)]).p_value

    assert quiet == pytest.approx(min(1.0, alone / 0.8))
    assert loud == pytest.approx(5e-4)


def test_rows_dealt_as_they_lay_give_the_p_values_that_were_observed():
    chance = np.random.default_rng(2)
    reference, window = chance.normal(0, 1, (90, 3)), chance.normal(0.5, 1, (40, 3))
    reference[:7, 1] = np.nan
    window[5:9, 2] = np.inf
    bins = bins_of([Numbers("f", str(place), reference[:, place], window[:, place]) for place in range(3)])

    dealt = bins.p_values_of(np.arange(90, 130), are_window=True), bins.p_values_of(np.arange(90), are_window=False)

    assert dealt[0] == pytest.approx(bins.p_values())
    assert dealt[1] == pytest.approx(bins.p_values())
