import numpy as np
import pytest

from models.intervals import wilson
from monitoring.evidence import begin, block_lane, describe, update, update_all
from monitoring.evidence_records import CHANNELS, GROSS, HARM, EvidenceSettings, Observation

SETTINGS = EvidenceSettings()
DAY = 200 * 90.0


def blank(per_quarter: float = DAY, lane: str = GROSS):
    return begin(
        model_version=1,
        reason="first look",
        judged_errors={"overall": (80, 1000)},
        settings=SETTINGS,
        units_per_quarter={lane: per_quarter},
    )


def units_to_alarm(values, per_quarter: float, lane: str = GROSS, detector: str = "embedding") -> int | None:
    observations = [Observation(lane, number, ((detector, value),)) for number, value in enumerate(values, start=1)]
    state, _ = update_all(blank(per_quarter, lane), observations, SETTINGS)
    return next(one.alarmed_at for one in state.detectors if (one.lane, one.name) == (lane, detector))


@pytest.mark.parametrize(("per_day", "expected"), [(200, 9), (200 * 288, 13), (20 * 86_400, 15)])
def test_when_every_picture_is_atypical_the_gross_lane_needs_about_a_dozen_at_any_rate(per_day, expected):
    assert units_to_alarm(np.ones(100), per_day * 90.0) == expected


def test_a_share_of_three_quarters_is_found_after_about_seventeen_predictions():
    chance = np.random.default_rng(1)
    runs = [units_to_alarm(chance.random(200) < 0.75, DAY) for _ in range(200)]

    assert 14 <= np.median([run for run in runs if run]) <= 20


def test_a_share_within_the_tolerance_never_adds_up():
    chance = np.random.default_rng(2)

    assert units_to_alarm(chance.random(18_000) < 0.15, DAY) is None


def test_an_error_rate_that_jumps_by_twenty_points_is_found_after_about_fifty_labels():
    chance = np.random.default_rng(3)
    runs = [units_to_alarm(chance.random(600) < 0.28, 900.0, HARM, "overall") for _ in range(200)]

    assert 45 <= np.median([run or 600 for run in runs]) <= 64


@pytest.mark.slow
def test_delays_and_false_alarms_are_those_of_the_specification():
    chance = np.random.default_rng(4)

    def median(share: float) -> float:
        return float(np.median([units_to_alarm(chance.random(1_500) < share, DAY) or 1_500 for _ in range(100)]))

    false = [units_to_alarm(chance.random(900) < 0.08, 900.0, HARM, "overall") is not None for _ in range(300)]
    assert median(0.3) == pytest.approx(331, rel=0.15)
    assert median(0.5) == pytest.approx(49, rel=0.15)
    # 1.3 % is specified; three standard errors of 300 runs are 2.0 points.
    assert np.mean(false) <= 0.033


def test_an_observation_that_was_already_applied_changes_nothing():
    state, _ = update(blank(), Observation(GROSS, 7, (("embedding", 1.0),)), SETTINGS)

    again, said = update(state, Observation(GROSS, 7, (("embedding", 1.0),)), SETTINGS)

    assert again == state
    assert said.new_alarms == ()


def test_one_at_a_time_and_all_at_once_come_to_the_same():
    chance = np.random.default_rng(5)
    observations = [
        Observation(GROSS, number, tuple((channel, float(chance.random() < 0.4)) for channel in CHANNELS))
        for number in range(1, 60)
    ]

    at_once, _ = update_all(blank(), observations, SETTINGS)
    state = blank()
    for observation in observations:
        state, _ = update(state, observation, SETTINGS)

    assert state == at_once


def test_values_that_are_not_numbers_and_unknown_detectors_are_passed_over():
    state, said = update(blank(), Observation(GROSS, 1, (("embedding", float("nan")), ("smell", 1.0))), SETTINGS)

    assert [detector.units for detector in state.detectors] == [0] * 9
    assert all(np.isfinite(one.log10_evidence) for one in said.detectors)


def test_an_alarm_is_new_once_and_stays_until_the_reset():
    observations = [Observation(GROSS, number, (("metadata", 1.0),)) for number in range(1, 11)]
    state, said = update_all(blank(), observations, SETTINGS)
    assert [(one.detector, one.alarmed_at) for one in said.new_alarms] == [("metadata", 9)]

    quiet = [Observation(GROSS, number, (("metadata", 0.0),)) for number in range(11, 400)]
    _, later = update_all(state, quiet, SETTINGS)

    assert later.new_alarms == ()
    assert [one.detector for one in later.alarms(GROSS)] == ["metadata"]


def test_the_threshold_is_the_budget_in_units_and_grows_when_traffic_outgrows_it():
    first = describe(blank(), SETTINGS).detectors[0]
    # N V / (B share) = 4 x 18,000 / (1 x 1/4) = 288,000
    assert 10**first.log10_threshold == pytest.approx(288_000)

    state = blank(0.0)
    # 4 x 10,000 / (1/4): less traffic than that is not believed.
    assert 10 ** describe(state, SETTINGS).detectors[0].log10_threshold == pytest.approx(160_000)


def test_the_tolerated_error_is_the_upper_bound_of_the_judged_error_and_two_points():
    overall = next(one for one in blank().detectors if one.lane == HARM)

    assert wilson(80, 1000, 0.90)[1] == pytest.approx(0.0953, abs=5e-4)
    assert overall.null == pytest.approx(0.115, abs=1e-3)
    assert overall.bets == pytest.approx([overall.null + step for step in (0.04, 0.10, 0.20, 0.40)])


def test_a_champion_that_is_nearly_always_wrong_can_still_be_bet_against():
    state = begin(model_version=1, reason="", judged_errors={"overall": (99, 100)}, settings=SETTINGS)
    observations = [Observation(HARM, number, (("overall", float(number % 2)),)) for number in range(1, 50)]

    state, said = update_all(state, observations, SETTINGS)

    assert all(np.isfinite(one.log10_evidence) for one in said.detectors)


def test_the_block_lane_says_how_far_it_is():
    assert block_lane(blank(), SETTINGS) == ("calibrating: 0 of 14 blocks; gross change and labelled harm are watched")
