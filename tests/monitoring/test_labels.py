"""Which predictions a person is asked about, and that weights of 1 / probability undo how they were chosen."""

from collections import Counter
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from monitoring.labelling.budget import Counted, budget, pace
from monitoring.labelling.requests import AUDIT, DISAGREEMENT, DRIFTED, GATE, UNCERTAIN
from monitoring.labels import Budget, Candidates, PlanRules, Wanted, hashes, plan

NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def key(number: int) -> bytes:
    return number.to_bytes(32)


def rules(number: int = 0) -> PlanRules:
    return PlanRules("birds", key(number), NOON)


def candidates(count: int, seed: int = 0, *, drifted: float = 0.2, disagrees: float = 0.1) -> Candidates:
    chance = np.random.default_rng(seed)
    return Candidates(
        model_version=1,
        ids=[f"prediction-{number}" for number in range(count)],
        at=[NOON + timedelta(seconds=number) for number in range(count)],
        answers=["crow"] * count,
        confidences=[0.9] * count,
        images=[f"{number:064x}" for number in range(count)],
        kin=[""] * count,
        drifted=chance.random(count) < drifted,
        disagrees=chance.random(count) < disagrees,
        uncertainty=chance.random(count),
    )


def truly_right(given: Candidates, seed: int = 1) -> np.ndarray:
    """Answers that are wrong just where a plan looks most: whoever ignores its probabilities is misled."""
    share = 0.95 - 0.5 * given.drifted - 0.2 * given.disagrees - 0.2 * given.uncertainty
    return (np.random.default_rng(seed).random(len(given)) < np.clip(share, 0.02, 1)).astype(float)


def test_weights_give_the_true_share_over_many_plans_however_biased_the_targeting():
    given = candidates(1_000)
    right = truly_right(given)
    place = {one: row for row, one in enumerate(given.ids)}
    totals, plain, sizes = [], [], []
    for number in range(400):
        asked = plan(given, Budget(0.02, 40.0), rules(number))
        values = np.array([right[place[one.prediction_id]] for one in asked])
        weights = np.array([1 / one.probability for one in asked])
        totals.append((values * weights).sum() / len(given))
        plain.append(values.mean())
        sizes.append(len(asked))

    error = np.std(totals) / np.sqrt(len(totals))
    assert abs(np.mean(totals) - right.mean()) < 3 * error
    assert abs(np.mean(plain) - right.mean()) > 0.1  # what was asked about is not what is typical
    assert np.mean(sizes) == pytest.approx(0.02 * 1_000 + 40 * 0.98, rel=0.03)


def test_the_audit_alone_gives_the_true_share_too():
    given = candidates(1_000)
    right = truly_right(given)
    place = {one: row for row, one in enumerate(given.ids)}
    shares = []
    for number in range(400):
        audit = [one for one in plan(given, Budget(0.05, 40.0), rules(number)) if one.in_audit]
        shares.append(sum(right[place[one.prediction_id]] / one.uniform_probability for one in audit) / len(given))

    assert abs(np.mean(shares) - right.mean()) < 3 * np.std(shares) / np.sqrt(len(shares))


def test_weights_are_right_where_near_copies_are_asked_about_once():
    given = candidates(1_000)
    chance = np.random.default_rng(7)
    # Sessions of one to forty pictures, the long ones mostly wrong.
    session = np.repeat(np.arange(200), chance.integers(1, 41, 200))[:1_000]
    size = np.bincount(session)[session]
    right = (chance.random(1_000) < np.where(size > 20, 0.3, 0.9)).astype(float)
    given = replace(given, kin=[f"session {number}" for number in session])
    place = {one: row for row, one in enumerate(given.ids)}
    totals = []
    for number in range(600):
        asked = plan(given, Budget(0.03, 30.0), rules(number))
        sessions = Counter(session[place[one.prediction_id]] for one in asked)
        assert max(sessions.values()) == 1
        totals.append(sum(right[place[one.prediction_id]] / one.probability for one in asked) / len(given))

    assert abs(np.mean(totals) - right.mean()) < 3 * np.std(totals) / np.sqrt(len(totals))


def test_probabilities_are_those_with_which_predictions_are_drawn():
    given = replace(candidates(60), kin=["a"] * 5 + [""] * 55)
    given.drifted[:5] = [True, False, True, False, False]
    drawn, said = Counter(), {}
    for number in range(3_000):
        for one in plan(given, Budget(0.1, 5.0), rules(number)):
            drawn[one.prediction_id] += 1
            said[one.prediction_id] = one.probability

    for identifier, probability in said.items():
        error = np.sqrt(probability * (1 - probability) / 3_000)
        assert abs(drawn[identifier] / 3_000 - probability) < 4.5 * error
    assert set(said) == set(given.ids)


def test_the_audit_can_be_told_from_the_id_and_the_probability_alone():
    given = candidates(1_000)
    other = replace(given, drifted=~given.drifted, uncertainty=1 - given.uncertainty)

    audit = {one.prediction_id for one in plan(given, Budget(0.05, 30.0), rules()) if one.in_audit}

    expected = {one for one, drawn in zip(given.ids, hashes(given.ids, key(0))[0], strict=True) if drawn < 0.05}
    assert audit == expected
    assert audit == {one.prediction_id for one in plan(other, Budget(0.05, 30.0), rules()) if one.in_audit}


def test_the_same_predictions_are_asked_about_each_time_and_others_under_another_key():
    given = candidates(1_000)

    first, again = plan(given, Budget(0.02, 20.0), rules()), plan(given, Budget(0.02, 20.0), rules())

    assert first == again
    assert len({one.prediction_id for one in first}) == len(first)
    assert first != plan(given, Budget(0.02, 20.0), rules(1))


def test_every_stratum_gets_its_share_and_the_drifted_region_the_largest():
    given = candidates(2_000, drifted=0.1, disagrees=0.05)
    drawn = Counter()
    for number in range(40):
        drawn.update(one.stratum for one in plan(given, Budget(0.02, 60.0), rules(number)))

    assert drawn[AUDIT] / 40 == pytest.approx(40, rel=0.1)
    assert drawn[DRIFTED] / 40 == pytest.approx(30, rel=0.1)
    assert drawn[DISAGREEMENT] / 40 == pytest.approx(15, rel=0.15)
    assert drawn[UNCERTAIN] / 40 == pytest.approx(15, rel=0.15)
    for one in plan(given, Budget(0.02, 60.0), rules()):
        if one.stratum in (DRIFTED, DISAGREEMENT):
            assert one.facts["drifted" if one.stratum == DRIFTED else "disagrees"]


def test_what_one_stratum_cannot_use_goes_to_the_next():
    given = candidates(1_000, drifted=0.0, disagrees=0.0)
    few = replace(given, drifted=np.arange(1_000) < 3)

    without = [len(plan(given, Budget(0.0, 40.0), rules(number))) for number in range(60)]
    asked = [plan(few, Budget(0.0, 40.0), rules(number)) for number in range(60)]

    assert np.mean(without) == pytest.approx(40, rel=0.07)
    assert np.mean([len(one) for one in asked]) == pytest.approx(40, rel=0.07)
    assert all(sum(one.facts["drifted"] for one in each) == 3 for each in asked)


def test_what_a_candidate_waits_for_comes_first_up_to_what_it_waits_for():
    given = candidates(2_000)
    weights = (np.arange(2_000) < 300).astype(float)
    purposes = [{"version": 2, "group": "class=crow", "scope": "old"} if weight else None for weight in weights]
    drawn, facts = Counter(), []
    for number in range(40):
        asked = plan(replace(given, wanted=Wanted(weights, purposes, 12.0)), Budget(0.02, 60.0), rules(number))
        drawn.update(one.stratum for one in asked)
        facts += [one.facts for one in asked if one.stratum == GATE]

    # Some of them the audit draws as well, and those are the audit's.
    assert drawn[GATE] / 40 == pytest.approx(12 * 0.98, rel=0.12)
    assert sum(drawn.values()) / 40 == pytest.approx(40 + 60 * 0.98, rel=0.05)
    assert all(one["gate"] == purposes[0] for one in facts)


def test_a_picture_that_comes_again_and_again_is_looked_at_once():
    given = replace(candidates(200), images=["f" * 64] * 200)
    before = replace(rules(), asked_images={"f" * 64: "long-ago"})

    asked, later = plan(given, Budget(0.3, 20.0), rules()), plan(given, Budget(0.3, 20.0), before)

    assert len(asked) > 20
    assert [one.same_as for one in asked] == [None] + [asked[0].prediction_id] * (len(asked) - 1)
    assert {one.same_as for one in later} == {"long-ago"}
    assert [one.probability for one in later] == [one.probability for one in asked]


def test_odd_numbers_stop_nothing():
    given = replace(candidates(50), uncertainty=np.full(50, np.nan), confidences=[float("nan")] * 50)
    nothing = replace(given, drifted=np.zeros(50, bool), disagrees=np.zeros(50, bool))

    assert {one.facts["confidence"] for one in plan(given, Budget(1.0, 5.0), rules())} == {None}
    assert len(plan(given, Budget(1.0, 0.0), rules())) == 50
    assert plan(nothing, Budget(0.0, 10.0), rules()) == ()
    assert plan(candidates(0), Budget(0.5, 10.0), rules()) == ()
    assert plan(candidates(20), Budget(0.0, 0.0), rules()) == ()


def test_without_traffic_nothing_is_asked_and_the_first_plan_divides_by_its_own_number():
    assert budget(per_day=20, audit_share=0.4, predictions=0, pace=0.0, asked_last_day=0, period_s=0) == Budget(0, 0)
    assert budget(per_day=0, audit_share=0.4, predictions=99, pace=9.0, asked_last_day=0, period_s=9) == Budget(0, 0)
    assert pace([], NOON) == 0.0

    first = Counted(NOON, 300, 600.0)
    granted = budget(
        per_day=20, audit_share=0.4, predictions=300, pace=pace([first], NOON), asked_last_day=0, period_s=600
    )

    # An hour is the least that a pace is taken from: 300 in ten minutes count as 300 in the hour.
    assert pace([first], NOON) == pytest.approx(7_200)
    assert granted.uniform == pytest.approx(0.4 * 20 / 7_200)
    assert granted.targeted == pytest.approx(0.6 * 20 * 300 / 7_200)


def test_traffic_below_what_people_can_label_is_asked_about_as_a_whole():
    granted = budget(per_day=20, audit_share=1.0, predictions=5, pace=5.0, asked_last_day=0, period_s=86_400)

    assert granted.uniform == 1.0


@pytest.mark.parametrize("daily", [30, 2_000, 20_000])
def test_over_weeks_as_many_are_asked_for_as_people_can_label_and_two_fifths_by_chance(daily):
    requests = _asked_by_day([daily] * 21, seed=3)

    by_day = np.array([len(day) for day in requests])
    audit = sum(one.in_audit for day in requests for one in day)
    assert by_day[2:].mean() == pytest.approx(20, rel=0.2)
    assert by_day.max() <= 3 * 20
    assert audit / by_day.sum() > 0.25


def test_a_surge_asks_for_no_more_than_twice_what_people_can_label():
    requests = _asked_by_day([500] * 7 + [20_000] * 4 + [500] * 7, seed=5)

    by_day = np.array([len(day) for day in requests])
    assert by_day[:7].mean() == pytest.approx(20, rel=0.3)
    assert 0 < by_day[7] <= 2.5 * 20
    assert by_day[8:11].mean() == pytest.approx(20, rel=0.35)


def _asked_by_day(daily: list[int], seed: int) -> list[list]:
    """A look every three hours, the traffic of a day spread evenly, each plan as the watcher makes it."""
    looks, per_day = 8, 20
    seen, at, number, known, days = [], NOON, 0, None, []
    blank = candidates(max(daily) // looks + 1, drifted=0.05, disagrees=0.0)
    stamps: list[datetime] = []
    for size in daily:
        today = []
        for look in range(looks):
            at += timedelta(hours=24 / looks)
            count = (look + 1) * size // looks - look * size // looks
            ids = [f"{number}-{row}" for row in range(count)]
            shared = vars(blank).keys() - {"model_version", "wanted"}
            columns = {name: getattr(blank, name)[:count] for name in shared}
            given = Candidates(model_version=1, **{**columns, "ids": ids, "images": ids})
            fresh = Counted(at, count, 86_400 / looks)
            asked_last_day = sum(one > at - timedelta(days=1) for one in stamps)
            granted = budget(
                per_day=per_day, audit_share=0.4, predictions=count,
                pace=known if known is not None else pace([fresh], at), asked_last_day=asked_last_day,
                period_s=86_400 / looks,
            )  # fmt: skip
            asked = plan(given, granted, rules(seed))
            stamps += [at] * len(asked)
            today += asked
            seen.append(fresh)
            known, number = pace(seen, at), number + 1
        days.append(today)
    return days
