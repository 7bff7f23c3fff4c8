from dataclasses import replace
from math import exp

import numpy as np
import pytest

from monitoring.blocks.change_point import change_point, log_e_of_ranks
from monitoring.blocks.lane import (
    BlockRules,
    autocorrelation,
    pool_of,
    rank,
    resembles_the_one_before,
    rules_for,
    run,
    threshold,
    tie_break,
)
from monitoring.evidence import begin, update
from monitoring.evidence_records import BLOCK_BETS, BLOCK_DETECTORS, BLOCKS, EvidenceSettings, Observation

DAY, HOUR = 86_400, 3_600
RULES = rules_for(DAY, 14)


def days(chance, count, shift=0.0, after=14, effect=0.2, series=()):
    """Four correlated distances a day of two hundred predictions, one of them shifted after burn-in."""
    shape = (*series, count, 4)
    together = chance.normal(0, 1, (*series, count, 1))
    noise = (chance.normal(0, 1, shape) + together) / 2**0.5
    moved = 0.1 + effect * noise + chance.normal(0, 200**-0.5, shape)
    moved[..., after:, 0] += shift
    return np.abs(moved)


def test_a_rank_counts_what_is_farther_and_shares_ties_by_chance():
    pool = np.array([0.1, 0.2, 0.3, 0.3])

    assert rank(0.25, pool, 0.5) == pytest.approx((2 + 0.5 * 1) / 5)
    assert rank(0.3, pool, 0.5) == pytest.approx((0 + 0.5 * 3) / 5)
    assert rank(0.0, pool, 0.9) == pytest.approx((4 + 0.9) / 5)


def test_a_tie_is_broken_alike_at_every_repetition_and_differently_for_every_block():
    ties = [tie_break(3, "mix", block) for block in range(1, 500)]

    assert tie_break(3, "mix", 7) == ties[6]
    assert len(set(ties)) == len(ties)
    assert 0 < min(ties) < 0.02
    assert 0.98 < max(ties) < 1


@pytest.mark.parametrize(
    ("block", "first", "last"), [(15, 0, 14), (21, 0, 14), (22, 0, 15), (187, 0, 180), (200, 13, 193)]
)
def test_the_newest_week_stays_out_of_the_pool_and_the_pool_has_at_most_a_hundred_and_eighty(block, first, last):
    assert pool_of(block, RULES) == slice(first, last)


def test_nothing_is_ranked_while_the_pool_burns_in():
    assert pool_of(14, RULES) is None


@pytest.mark.parametrize(
    ("seconds", "burn_in", "left_out", "a_quarter"),
    [(DAY, 14, 7, 90), (HOUR, 48, 24, 2_160), (2 * DAY, 14, 7, 45), (6 * HOUR, 14, 7, 360), (60, 48, 24, 129_600)],
)
def test_other_blocks_than_a_day_scale_what_is_left_out_and_what_a_quarter_has(seconds, burn_in, left_out, a_quarter):
    assert rules_for(seconds, 14) == BlockRules(burn_in, left_out, a_quarter)


def test_four_detectors_of_day_blocks_alarm_at_seven_hundred_and_twenty():
    assert threshold(RULES, 4, 1.0) == 720


def test_the_recursion_is_that_of_shiryaev_and_roberts_in_plain_numbers():
    chance = np.random.default_rng(0)
    values = chance.random((40, 2))

    found = run(values, replace(RULES, burn_in=5, left_out=3), seed=1)

    ties = np.random.default_rng(1).random(values.shape)
    for detector in range(2):
        plain = dict.fromkeys(BLOCK_BETS, 0.0)
        for block in range(6, 41):
            pool = values[: max(5, block - 3), detector]
            own = values[block - 1, detector]
            p = ((pool > own).sum() + ties[block - 1, detector] * (1 + (pool == own).sum())) / (len(pool) + 1)
            plain = {bet: (r + 1) * bet * p ** (bet - 1) for bet, r in plain.items()}
            assert found.ranks[block - 1, detector] == pytest.approx(p)
            assert 10 ** found.log10_evidence[block - 1, detector] == pytest.approx(sum(plain.values()) / 3)


def test_one_block_at_a_time_through_the_state_comes_to_the_same_as_a_whole_run():
    chance = np.random.default_rng(2)
    values = days(chance, 60)
    found = run(values, RULES)
    settings = EvidenceSettings()
    state = begin(model_version=1, reason="", judged_errors={}, settings=settings)

    for block, ranks in enumerate(found.ranks, start=1):
        state, said = update(
            state, Observation(BLOCKS, block, tuple(zip(BLOCK_DETECTORS, ranks, strict=True))), settings
        )

    mine = [one for one in said.detectors if one.lane == BLOCKS]
    assert [one.units for one in mine] == [46] * 4
    assert [one.log10_evidence for one in mine] == pytest.approx(found.log10_evidence[-1])
    assert mine[0].log10_threshold == pytest.approx(found.log10_threshold)


def test_ranks_of_exchangeable_blocks_are_even():
    chance = np.random.default_rng(3)

    ranks = run(chance.random((400, 15, 1)), RULES).ranks[:, 14, 0]

    shares = np.histogram(ranks, bins=5, range=(0, 1))[0] / 400
    assert shares == pytest.approx(np.full(5, 0.2), abs=0.06)


def test_a_shift_is_found_in_days_at_the_simulated_rate():
    chance = np.random.default_rng(4)
    delays = run(days(chance, 60, shift=0.8, series=(60,)), RULES).alarm - 14

    # Specified for the same traffic: 6 days in the median, 7 in nine of ten.
    assert 5 <= np.median(delays) <= 7
    assert np.quantile(delays, 0.9) <= 9


@pytest.mark.slow
def test_false_alarms_in_a_quarter_stay_within_the_lane_s_share():
    chance = np.random.default_rng(5)

    alarmed = run(days(chance, 14 + 90, series=(400,)), RULES).alarm > 0

    # 0.22 is specified, 1 - exp(-1/2) = 0.39 allowed; two standard errors are 0.05.
    assert alarmed.mean() < 0.32


def test_a_drift_that_came_after_burn_in_does_not_become_its_own_reference():
    chance = np.random.default_rng(6)

    alarms = run(days(chance, 80, shift=5, series=(40,)), RULES).alarm

    assert (alarms > 14).all()
    assert np.median(alarms - 14) == pytest.approx(6, abs=1)


def test_lag_one_autocorrelation_on_a_tiny_series():
    # Deviations -1, 0, 1 and their neighbours: (-1 * 0 + 0 * 1) / 2 = 0; of 1, 1, -1, -1: (1 - 1 + 1) / 4.
    assert autocorrelation([1.0, 2.0, 3.0]) == pytest.approx(0.0)
    assert autocorrelation([2.0, 2.0, 0.0, 0.0]) == pytest.approx(0.25)
    assert autocorrelation([5.0, 5.0, 5.0, 5.0]) == 0.0
    assert autocorrelation([1.0]) == 0.0


def test_blocks_that_carry_on_are_told_from_blocks_that_do_not():
    chance = np.random.default_rng(7)
    independent = [resembles_the_one_before(chance.normal(size=28)) for _ in range(400)]

    def carried(rho):
        values = [chance.normal()]
        for _ in range(59):
            values.append(rho * values[-1] + (1 - rho**2) ** 0.5 * chance.normal())
        return np.array(values)

    dependent = [resembles_the_one_before(carried(0.6)) for _ in range(100)]

    assert np.mean(independent) < 0.03
    assert np.mean(dependent) > 0.85
    assert not resembles_the_one_before([])


def test_a_change_point_is_where_low_ranks_begin():
    ranks = [None, 0.5, 0.9, 0.6, 0.03, 0.02, 0.04, 0.01]

    place, summed = change_point(log_e_of_ranks(ranks))

    assert place == 4
    # The boldest bet wins: the product of 0.1 p^(-0.9) over the last four.
    product = np.prod([0.1 * p**-0.9 for p in ranks[4:]])
    assert exp(summed) == pytest.approx(max(product, np.prod([0.25 * p**-0.75 for p in ranks[4:]])))


def test_blocks_that_never_looked_strange_have_no_change_point():
    assert change_point(log_e_of_ranks([0.9, 0.8, 0.95])) is None
    assert change_point(log_e_of_ranks([])) is None
    assert change_point(log_e_of_ranks([None, None])) is None
