"""ADWIN as a second opinion: silent without change, and near the change where there is one."""

import numpy as np

from monitoring.quality.adwin import cuts


def errors(seed: int, *parts: tuple[int, float]) -> np.ndarray:
    chance = np.random.default_rng(seed)
    return np.concatenate([chance.random(count) < rate for count, rate in parts])


def test_it_cuts_where_errors_rise_and_says_from_what_to_what():
    found = cuts(errors(0, (2_000, 0.05), (500, 0.30)))

    assert len(found) == 1
    assert abs(found[0].began - 2_000) < 40
    assert 2_000 < found[0].noticed < 2_200
    assert found[0].worse
    assert found[0].error_before < 0.08
    assert found[0].error_after > 0.2


def test_a_change_for_the_better_is_a_cut_that_is_not_worse():
    assert not cuts(errors(1, (1_500, 0.30), (500, 0.05)))[0].worse


def test_steady_errors_are_not_cut():
    assert not any(cuts(errors(seed, (6_000, 0.08))) for seed in range(10))


def test_only_the_newest_twenty_thousand_labels_are_looked_at():
    found = cuts(errors(2, (3_000, 0.5), (20_000, 0.05)))

    assert found == ()


def test_no_label_or_one_has_no_cut():
    assert cuts(np.empty(0, dtype=bool)) == ()
    assert cuts(np.ones(1, dtype=bool)) == ()
