"""Guards of a version on trial: seldom wrong when nothing is, quick when something is."""

import numpy as np
import pytest

from monitoring.guards import ALPHA, blocks, difference, guard, guard_of_differences

RUNS = 2000


def test_before_the_first_value_nothing_is_said():
    made = guard("errors", [], 0.1, "wrong: {mean} of at most {tolerated}")

    assert (made.units, made.mean, made.log10_evidence, made.tripped) == (0, None, 0.0, False)
    assert made.words == "wrong: – of at most 10.0%"


def test_a_version_at_the_very_line_trips_it_in_no_more_than_the_promised_share_of_runs():
    chance = np.random.default_rng(1)

    tripped = sum(guard("errors", chance.random(300) < 0.1, 0.1, "").tripped for _ in range(RUNS))

    assert tripped / RUNS <= ALPHA


def test_a_difference_at_the_very_line_trips_it_no_more_often():
    chance = np.random.default_rng(2)

    def one() -> bool:
        differences = (chance.random(300) < 0.20).astype(float) - (chance.random(300) < 0.15)
        return guard_of_differences("errors", differences, 0.05, "").tripped

    assert sum(one() for _ in range(RUNS)) / RUNS <= ALPHA


@pytest.mark.parametrize(("error", "most"), [(0.3, 90), (0.5, 30), (1.0, 10)])
def test_the_worse_it_is_the_sooner_it_trips(error, most):
    chance = np.random.default_rng(3)

    found = [guard("errors", chance.random(most) < error, 0.1, "").tripped for _ in range(300)]

    assert np.mean(found) >= 0.9


def test_once_tripped_it_stays_tripped_whatever_comes():
    bad, good = [1.0] * 20, [0.0] * 500

    assert guard("errors", [*bad, *good], 0.1, "").tripped


def test_more_answers_never_change_the_blocks_before():
    chance = np.random.default_rng(4)
    tried = (chance.random(300) < 0.1).tolist()

    whole = blocks(tried)

    assert whole[: len(blocks(tried[:150]))] == blocks(tried[:150])
    assert all({tried[place] for place in block} == {True, False} for block in whole)


def test_a_block_compares_the_means_of_the_two():
    tried, values = [False, False, True], [0.0, 1.0, 1.0]

    (block,) = blocks(tried)

    assert difference(tried, values, block) == 0.5
    assert blocks([True, True]) == blocks([]) == []
