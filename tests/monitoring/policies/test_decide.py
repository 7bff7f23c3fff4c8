"""Which policies ask, what holds back, and in which words; pure, so every case stands on one screen."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from monitoring.performance import Interval
from monitoring.policies.decide import decide
from monitoring.policies.expression import parse
from monitoring.policies.moments import quiet_hours
from monitoring.policies.records import (
    Audited,
    Behind,
    EstimatedAccuracy,
    JobsSoFar,
    Measured,
    PolicyInput,
    WaitingCandidate,
)
from monitoring.policies.rules import PolicyRules
from monitoring.triage_records import FIX_INPUT, LABEL_FIRST, NOTHING, RETRAIN, LabelsSoFar

AT = datetime(2026, 11, 18, 12, 0, tzinfo=UTC)
ENOUGH = LabelsSoFar(fresh=150, in_region=60, by_class={"crow": 90, "duck": 60})
CALM = PolicyInput(at=AT, action=NOTHING, words="No alarm.", labels=ENOUGH, shown=("crow", "duck"))
HARMED = replace(CALM, action=RETRAIN, words="Labelled harm.", avoidable_error=0.12, avoidable_basis="labels")


def rules(when: str = "any(harm, schedule, requested)", **values: object) -> PolicyRules:
    return PolicyRules(text=when, when=parse(when), **values)


def alone(name: str, given: PolicyInput, **values: object):
    """The answer of one policy."""
    (found,) = decide(given, rules(name, **values)).policies
    return found


def test_in_quiet_times_nothing_asks():
    decision = decide(CALM, rules())

    assert not decision.asks
    assert not decision.starts
    assert decision.words == "Nothing asks for a retrain: any(harm, schedule, requested)."


def test_harm_starts_a_retrain_and_gives_it_its_name():
    decision = decide(HARMED, rules())

    assert decision.starts
    assert decision.reason == "harm"
    assert decision.words == "A retrain starts. The verdict is to retrain. Labelled harm."
    assert decision.fired == ("harm",)


def test_the_strongest_of_those_that_ask_gives_the_reason():
    both = replace(HARMED, requests=("new labels", "new camera"), moment=AT - timedelta(minutes=1))

    decision = decide(both, rules(cron="0 3 * * 0"))

    assert decision.reason == "harm"
    assert decision.fired == ("harm", "schedule", "requested")


def test_a_person_s_reason_is_told_in_their_words():
    decision = decide(replace(CALM, requests=("a new camera", "so say I")), rules())

    assert (decision.reason, decision.words) == (
        "requested", 'A retrain starts. Asked for from outside: "a new camera", and 1 more.'
    )  # fmt: skip


def test_a_policy_that_asks_but_is_not_named_starts_nothing():
    assert not decide(HARMED, rules("any(schedule, requested)")).asks


def test_all_says_what_is_still_missing():
    decision = decide(HARMED, rules("all(harm, labels)", new_labels=500))

    assert not decision.asks
    assert decision.words.startswith("No retrain starts: all(harm, labels) does not hold without labels.")


def test_harm_does_not_ask_where_a_person_keeps_that_to_themselves():
    found = alone("harm", HARMED, on_harm=False)

    assert not found.fires
    assert "trigger.retrain_on_harm is off" in found.words


def test_broken_input_forbids_every_start_also_one_that_was_requested():
    broken = replace(CALM, action=FIX_INPUT, requests=("new labels",), moment=AT)

    decision = decide(broken, rules())

    assert decision.asks
    assert not decision.starts
    assert [one.name for one in decision.held_back] == ["broken input"]
    assert "broken pictures never train a model" in decision.words


@pytest.mark.parametrize(
    ("accuracy", "labels", "fires"),
    [((0.80, 0.74, 0.85), 120, True), ((0.86, 0.80, 0.91), 120, False), ((0.5, 0.2, 0.8), 12, False)],
)
def test_performance_asks_when_labels_put_the_whole_interval_below(accuracy, labels, fires):
    found = alone("performance", replace(CALM, measured=Measured(labels, Interval(*accuracy))), least_accuracy=0.9)

    assert found.fires == fires


def test_labels_that_are_surely_good_ask_for_nothing_and_say_how_good():
    found = alone("performance", replace(CALM, measured=Measured(200, Interval(0.95, 0.91, 0.97))), least_accuracy=0.9)

    assert found.words == "Accuracy is not surely below 90.0%: by 200 labels it is 95.0% (91.0% to 97.0%)."


def test_performance_asks_by_estimates_of_two_windows_in_a_row_that_may_be_leant_on():
    low = EstimatedAccuracy(True, Interval(0.80, 0.76, 0.84))
    unsure, good = replace(low, valid=False), EstimatedAccuracy(True, Interval(0.93, 0.9, 0.96))

    def fires(*windows):
        return alone("performance", replace(CALM, estimates=windows), least_accuracy=0.9).fires

    assert fires(low, low, good)
    assert not fires(low)
    assert not fires(low, unsure, low)
    assert not fires(low, good)


def test_bias_asks_when_a_judged_subgroup_surely_lies_behind():
    behind = Behind("camera = B", "recall", 0.12, "recall 17.0 points lower than elsewhere")
    audited = replace(CALM, audit=Audited(AT, (behind,)))

    assert alone("bias", audited, most_subgroup_gap=0.10).fires
    assert not alone("bias", audited, most_subgroup_gap=0.15).fires
    assert alone("bias", audited, most_subgroup_gap=0.10).words == (
        "camera = B lies behind by the audit of 2026-11-18 12:00 UTC: recall 17.0 points lower than elsewhere, "
        "surely by 12.0 points."
    )


def test_bias_without_an_audit_says_what_to_do():
    assert alone("bias", CALM, most_subgroup_gap=0.1).would_change == "An audit: kedge audit, or the daily one."


def test_bias_is_not_measured_by_labels_that_people_chose():
    behind = Behind("camera = B", "recall", 0.12, "recall 17.0 points lower than elsewhere")
    audited = Audited(AT, (behind,), "600 of 900 labels were volunteered")

    found = alone("bias", replace(CALM, audit=audited), most_subgroup_gap=0.10)

    assert not found.fires
    assert found.would_change.endswith("kedge audit --drawn-only.")


def test_labels_ask_by_their_number_counted_from_the_last_refusal():
    assert alone("labels", CALM, new_labels=150).fires
    refused = replace(CALM, labels=replace(ENOUGH, since_refusal=40))
    found = alone("labels", refused, new_labels=150)
    assert (found.fires, found.would_change) == (False, "110 more labels.")


@pytest.mark.parametrize(
    ("name", "setting"),
    [("performance", "least_accuracy"), ("bias", "most_subgroup_gap"), ("labels", "new_labels"), ("schedule", "cron")],
)
def test_a_policy_without_its_setting_never_asks(name, setting):
    found = alone(name, HARMED)

    assert (found.fires, found.words) == (False, f"trigger.{setting} is not set.")


def test_the_cool_down_holds_back_until_a_moment():
    ended = AT - timedelta(minutes=20)

    decision = decide(replace(HARMED, jobs=JobsSoFar(last_ended=ended)), rules())

    (held,) = decision.held_back
    assert (held.name, held.until) == ("cool-down", ended + timedelta(minutes=60))
    assert decision.words.startswith("A retrain is held back. The last retrain ended at 2026-11-18 11:40 UTC")
    assert decide(replace(HARMED, jobs=JobsSoFar(last_ended=AT - timedelta(minutes=60))), rules()).starts


@pytest.mark.parametrize(("failures", "hours"), [(0, 1), (1, 1), (2, 2), (4, 8), (9, 24)])
def test_the_cool_down_doubles_with_every_failure_in_a_row_up_to_a_day(failures, hours):
    ended = AT - timedelta(minutes=20)

    (held,) = decide(replace(HARMED, jobs=JobsSoFar(last_ended=ended, failures=failures)), rules()).held_back

    assert held.until == ended + timedelta(hours=hours)
    assert ("retrains failed" in held.words) == (failures > 1)


def test_an_open_job_is_said_to_be_under_way():
    decision = decide(replace(HARMED, jobs=JobsSoFar(open="j1")), rules())

    assert not decision.starts
    assert decision.words.startswith("A retrain is under way. Job j1 is queued or running already.")


def test_so_many_a_week_and_the_next_when_the_oldest_is_a_week_old():
    asked = (AT - timedelta(days=6), AT - timedelta(days=3), AT - timedelta(days=2))

    decision = decide(replace(HARMED, jobs=JobsSoFar(asked=asked)), rules(most_per_week=2))

    (held,) = decision.held_back
    assert (held.name, held.until) == ("per week", AT + timedelta(days=4))
    assert decide(replace(HARMED, jobs=JobsSoFar(asked=asked)), rules(most_per_week=4)).starts


def waiting(reason: str) -> JobsSoFar:
    return JobsSoFar(waiting=WaitingCandidate(3, reason, "12 of 40 labels of class 7, recent have come"))


def test_a_candidate_that_waits_for_labels_holds_back_another_for_the_same_reason_and_says_what_ends_it():
    (held,) = decide(replace(HARMED, jobs=waiting("harm")), rules()).held_back

    assert (held.name, held.until) == ("waiting candidate", None)
    assert held.words == (
        "Version 3, made for harm, waits for labels that decide about it: 12 of 40 labels of class 7, recent have come."
    )


def test_a_candidate_that_waits_gives_way_to_who_asks_and_to_a_more_urgent_reason_and_to_no_lesser_one():
    asked = replace(CALM, requests=("new labels",))
    weekly = replace(CALM, moment=AT - timedelta(minutes=1))

    assert decide(replace(asked, jobs=waiting("harm")), rules()).starts
    assert decide(replace(HARMED, jobs=waiting("schedule")), rules()).starts
    assert decide(replace(HARMED, jobs=waiting("new camera")), rules()).starts
    assert not decide(replace(weekly, jobs=waiting("harm")), rules(cron="0 3 * * 0")).starts


def test_minutes_of_training_are_counted_over_thirty_days_with_the_next_job_among_them():
    trained = ((AT - timedelta(days=29), 20.0), (AT - timedelta(days=10), 25.0))
    jobs = JobsSoFar(trained=trained, usual_minutes=20.0, usual_of=2)

    (held,) = decide(replace(HARMED, jobs=jobs), rules(training_minutes_per_month=60)).held_back
    assert (held.name, held.until) == ("training minutes", AT + timedelta(days=1))
    assert decide(replace(HARMED, jobs=jobs), rules(training_minutes_per_month=65)).starts
    (never,) = decide(replace(HARMED, jobs=jobs), rules(training_minutes_per_month=10)).held_back
    assert never.until is None
    assert never.words.endswith("allows 10: less than one takes.")


def test_quiet_hours_hold_back_what_starts_by_itself_and_not_what_somebody_asks_for():
    night = rules(quiet=quiet_hours("11:00-13:00"))

    (held,) = decide(HARMED, night).held_back
    assert (held.name, held.until) == ("quiet hours", AT + timedelta(hours=1))
    assert decide(replace(CALM, requests=("new labels",)), night).starts


def test_too_few_labels_hold_back_whatever_asks_and_are_counted_in_words():
    few = replace(CALM, requests=("new labels",), labels=LabelsSoFar(fresh=60, in_region=10, since_refusal=5))

    held = {one.name: one.words for one in decide(few, rules()).held_back}

    assert held == {
        "fresh labels": "60 of 100 fresh labels: 40 more are needed.",
        "labels in the region": "10 of 50 labels from where the change is: 40 more are needed.",
        "labels since a refusal": "5 of 100 labels since the last candidate was refused: 95 more are needed.",
    }


def test_each_class_that_production_shows_needs_its_labels():
    shown = replace(CALM, requests=("new labels",), shown=("crow", "duck", "owl"))

    (held,) = decide(shown, rules(least_fresh_labels_per_class=70)).held_back

    assert held.words == "Fresh labels are lacking: 10 of duck, 70 of owl; each class that comes needs 70."


def test_labels_that_cannot_be_counted_hold_nothing_back():
    assert decide(replace(CALM, labels=None, requests=("new labels",)), rules()).starts


def test_a_moment_waits_for_the_clock_and_not_for_labels():
    sunday = replace(CALM, moment=AT - timedelta(minutes=1), next_moment=AT + timedelta(days=7))
    cooling = replace(sunday, jobs=JobsSoFar(last_ended=AT - timedelta(minutes=20)))
    few = replace(sunday, labels=LabelsSoFar(fresh=10, in_region=10))
    busy = replace(sunday, jobs=JobsSoFar(open="j1"))
    often = replace(cooling, next_moment=AT + timedelta(minutes=30))

    assert decide(cooling, rules(cron="0 3 * * 0")).keeps_moment
    assert [decide(one, rules(cron="0 3 * * 0")).keeps_moment for one in (sunday, few, busy, often)] == [False] * 4


def test_avoidable_errors_a_day_stand_beside_the_cost_of_the_last_jobs():
    busy = replace(HARMED, predictions_per_day=5_000.0, jobs=JobsSoFar(usual_minutes=12.5, usual_of=3))

    found = decide(busy, rules()).expected

    assert found.errors_per_day == 600
    assert found.words == (
        "A retrain may avoid about 600 errors a day (by labels), for about 12.5 minutes of training (the median of "
        "the last 3)."
    )


def test_without_harm_no_gain_is_promised_and_without_a_job_the_budget_is_the_cost():
    found = decide(CALM, rules(budget_minutes=30.0)).expected

    assert found.errors_per_day is None
    assert found.words.startswith("No avoidable error is shown; a retrain would cost about 30 minutes of training")
    assert found.words.endswith("(at most, by train.budget_minutes: none has run yet).")


def test_a_decision_is_plain_json_and_the_same_decision_has_the_same_key():
    cooling = replace(HARMED, jobs=JobsSoFar(last_ended=AT - timedelta(minutes=20)))
    first, later = decide(cooling, rules()), decide(replace(cooling, at=AT + timedelta(minutes=1)), rules())

    document = json.loads(json.dumps(first.to_json(), allow_nan=False))

    assert document["held_back"][0]["until"] == "2026-11-18T12:40:00+00:00"
    assert first.key == later.key == "harm|cool-down|"
    assert decide(HARMED, rules()).key == "harm||starts"
    assert decide(replace(CALM, action=LABEL_FIRST), rules()).key == "||"
