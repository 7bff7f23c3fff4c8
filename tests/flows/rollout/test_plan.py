"""A rollout's next step, from records to a record: nothing is read and nothing is done."""

from dataclasses import replace
from datetime import timedelta

import pytest

from flows.rollout.plan import REFUSAL_PATIENCE, advance, after_promotion, first_stage, heard
from flows.rollout.records import END, MOVE, PROMOTE, WAIT, Awaiting, Observed, rules_of
from infra.clock import now
from infra.settings_sections import RolloutSettings
from models.rollout_runs import (
    CANARY,
    DONE,
    EXPIRED,
    PROBATION,
    PROMOTING,
    ROLLED_BACK,
    SHADOW,
    STOPPED,
    WAITING,
    RolloutRun,
    RunFacts,
)
from monitoring.guards import Guard
from monitoring.trial_agreement import Agreement
from monitoring.trial_evidence import ProbationEvidence, TrialEvidence

BEGUN = now()
RULES = rules_of(RolloutSettings(shadow_predictions=200, canary_predictions=100, most_stage_minutes=60))
WELL = Guard("errors", 50, 0.0, 0.05, 0.3, 2.0, "errors are fine")
TRIPPED = replace(WELL, log10_evidence=2.1, words="its answers are wrong more often by 30 %")


def run(stage=SHADOW, **changes):
    made = RolloutRun(
        "cards", 1, 2, 1, stage, BEGUN, BEGUN, None, "retrain for harm", "job-1", "words", RunFacts(counted_from="now")
    )
    return replace(made, **changes)


def trial(predictions=50, *, guards=(WELL,), agreement=0.9, **changes):
    whole = Agreement("overall", predictions, agreement, agreement - 0.05, agreement + 0.05, few=False)
    made = TrialEvidence(predictions, float(predictions), 2.0, 4.0, 2.0, few=False, labelled=0, agreements=(whole,),
                         guards=guards)  # fmt: skip
    return replace(made, **changes)


def seen(minutes=1.0, **changes):
    made = Observed(at=BEGUN + timedelta(minutes=minutes), champion=1, champion_words="ada, first", share=1.0)
    return replace(made, **changes)


def step(rollout, observed, rules=RULES):
    made = advance(rollout, observed, rules)
    return made.deed, made.stage


@pytest.mark.parametrize(
    ("champion", "shadow", "canary", "stage"),
    [(None, 200, 200, PROMOTING), (1, 200, 200, SHADOW), (1, 0, 200, CANARY), (1, 0, 0, PROMOTING)],
)
def test_a_rollout_begins_with_the_first_stage_that_the_settings_know(champion, shadow, canary, stage):
    rules = rules_of(RolloutSettings(shadow_predictions=shadow, canary_predictions=canary))

    assert first_stage(champion, rules) == stage


def test_while_answers_are_few_and_nothing_is_wrong_it_waits_and_says_how_many_there_are():
    made = advance(run(), seen(trial=trial(50)), RULES)

    assert (made.deed, made.stage, made.words) == (WAIT, SHADOW, "50 of 200 answers as shadow")


def test_before_the_first_answer_it_waits():
    assert step(run(), seen()) == (WAIT, SHADOW)


@pytest.mark.parametrize(
    ("stage", "answers", "after"), [(SHADOW, 200, CANARY), (CANARY, 100, PROMOTING)], ids=["shadow", "canary"]
)
def test_with_enough_answers_it_goes_on(stage, answers, after):
    assert step(run(stage), seen(trial=trial(answers))) == (MOVE, after)


def test_without_a_canary_a_shadow_goes_to_everybody():
    rules = replace(RULES, canary_predictions=0)

    assert step(run(), seen(trial=trial(200)), rules) == (MOVE, PROMOTING)


def test_a_version_of_other_classes_is_shadow_but_no_canary():
    wider = run(facts=RunFacts(counted_from="now", wider=True))

    assert step(wider, seen(trial=trial(200))) == (MOVE, PROMOTING)
    assert first_stage(1, replace(RULES, shadow_predictions=0), wider=True) == PROMOTING


def test_what_the_gate_let_through_by_relief_has_twice_the_canary():
    longer = run(CANARY, facts=RunFacts(counted_from="now", longer=True))

    assert step(longer, seen(trial=trial(150))) == (WAIT, CANARY)
    assert step(longer, seen(trial=trial(200))) == (MOVE, PROMOTING)


@pytest.mark.parametrize("stage", [SHADOW, CANARY])
def test_a_guard_that_trips_stops_it_at_once_and_in_its_words(stage):
    made = advance(run(stage), seen(trial=trial(20, guards=(WELL, TRIPPED))), RULES)

    assert (made.deed, made.stage, made.words) == (END, STOPPED, TRIPPED.words)


def test_a_shadow_that_surely_agrees_too_seldom_stops_early_and_leaves_it_to_a_person():
    made = advance(run(), seen(trial=trial(60, agreement=0.3)), RULES)

    assert (made.deed, made.stage) == (END, STOPPED)
    assert "it agrees with the champion on 30% of 60 images (overall), below 50%: a person has to decide" in made.words


def test_a_shadow_just_below_the_line_is_counted_to_its_end_first():
    assert step(run(), seen(trial=trial(60, agreement=0.48))) == (WAIT, SHADOW)
    assert step(run(), seen(trial=trial(200, agreement=0.48))) == (END, STOPPED)


def test_a_subgroup_in_which_they_part_stops_it_where_it_is_large_enough():
    camera = Agreement("camera=C", 60, 0.1, 0.05, 0.2, few=False)
    whole = trial(200).agreements[0]

    assert step(run(), seen(trial=trial(200, agreements=(whole, camera)))) == (END, STOPPED)
    assert step(run(), seen(trial=trial(200, agreements=(whole, replace(camera, few=True))))) == (MOVE, CANARY)


def test_where_labels_say_that_it_repairs_what_the_champion_gets_wrong_it_may_part_from_it():
    display = Agreement("display=lcd", 36, 0.22, 0.12, 0.38, few=False, repaired=0.45)
    whole = trial(200).agreements[0]

    assert step(run(), seen(trial=trial(200, agreements=(whole, display)))) == (MOVE, CANARY)
    unsure = replace(display, repaired=0.2)
    assert step(run(), seen(trial=trial(200, agreements=(whole, unsure)))) == (END, STOPPED)


def test_one_that_waits_for_labels_may_part_from_the_champion_until_they_have_come():
    waits = Awaiting(state="waiting", labels=("3 of 40 labels of any image, recent",), some=True)

    assert step(run(WAITING), seen(awaiting=waits, trial=trial(60, agreement=0.1))) == (WAIT, WAITING)
    assert step(run(WAITING), seen(awaiting=waits, trial=trial(60, guards=(TRIPPED,)))) == (END, STOPPED)


def test_a_candidate_that_was_proven_better_may_part_from_the_champion_as_often():
    proven = run(facts=RunFacts(counted_from="now", gains={"overall": 0.3, "camera=C": 0.45}))
    camera = Agreement("camera=C", 60, 0.1, 0.05, 0.2, few=False)

    assert step(proven, seen(trial=trial(200, agreement=0.25))) == (MOVE, CANARY)
    assert step(proven, seen(trial=trial(200, agreement=0.15))) == (END, STOPPED)
    whole = trial(200, agreement=0.25).agreements[0]
    assert step(proven, seen(trial=trial(200, agreements=(whole, camera)))) == (MOVE, CANARY)


def test_a_canary_that_takes_too_long_stops():
    slow = trial(50, champion_ms=10.0, trial_ms=31.0)

    made = advance(run(CANARY), seen(trial=slow), RULES)

    assert (made.deed, made.stage) == (END, STOPPED)
    assert "31.0 ms in the median, over 3 times the champion's 10.0 ms" in made.words
    assert step(run(CANARY), seen(trial=replace(slow, few=True))) == (WAIT, CANARY)


def test_a_few_milliseconds_more_stop_nothing_whatever_their_ratio():
    assert step(run(CANARY), seen(trial=trial(50, champion_ms=0.2, trial_ms=2.0))) == (WAIT, CANARY)


def test_a_shadow_which_yields_to_everybody_is_held_against_the_champions_slow_answers():
    slow = trial(50, champion_ms=10.0, champion_ms_p95=20.0, trial_ms=45.0)

    assert step(run(), seen(trial=slow)) == (WAIT, SHADOW)
    assert step(run(), seen(trial=replace(slow, trial_ms=61.0))) == (END, STOPPED)


def test_what_gives_no_answer_at_all_has_failed_at_every_one():
    made = advance(run(), seen(trial=trial(0, expected=80.0, agreements=())), RULES)

    assert (made.deed, made.stage) == (END, STOPPED)
    assert made.words == "it answered none of 80 images that fell to it as shadow"


def test_a_stage_with_little_traffic_goes_on_with_what_its_time_allowed():
    made = advance(run(), seen(minutes=61, trial=trial(50)), RULES)

    assert (made.deed, made.stage) == (MOVE, CANARY)
    assert made.words == "50 of 200 answers as shadow showed nothing against it"


def test_a_stage_with_too_little_traffic_to_say_anything_is_given_up_with_a_way_on():
    made = advance(run(), seen(minutes=61, trial=trial(20)), RULES)

    assert (made.deed, made.stage) == (END, EXPIRED)
    assert made.words.startswith(
        "only 20 of 200 answers came as shadow within 60 minutes. `kedge rollout start 2 --from"
    )


def test_the_time_of_a_stage_begins_with_the_first_image():
    made = advance(run(), seen(minutes=6_000, trial=trial(0, expected=0.0, agreements=())), RULES)

    assert (made.deed, made.stage) == (WAIT, SHADOW)
    assert made.words == "no image has come yet; 200 answers as shadow are waited for"


def test_a_trial_that_somebody_ended_is_over():
    assert step(run(), seen(share=None)) == (END, STOPPED)


@pytest.mark.parametrize("stage", [SHADOW, CANARY, PROMOTING])
def test_another_champion_ends_the_rollout_which_was_compared_with_the_one_before(stage):
    made = advance(run(stage), seen(champion=7, champion_words="ada, by hand"), RULES)

    assert (made.deed, made.stage, made.words) == (END, STOPPED, "version 7 became champion meanwhile: ada, by hand")
    assert made.overtaken


def test_a_version_promoted_by_hand_during_its_trial_is_on_probation():
    assert step(run(CANARY), seen(champion=2, share=None)) == (MOVE, PROBATION)


def test_promoting_promotes_until_it_is_done_and_never_what_was_put_back():
    assert step(run(PROMOTING), seen()) == (PROMOTE, PROMOTING)
    assert step(run(PROMOTING), seen(champion=2, was_promoted=True)) == (PROMOTE, PROMOTING)
    back = advance(run(PROMOTING), seen(champion=1, was_promoted=True, went_back=True), RULES)
    followed = advance(run(PROMOTING), seen(champion=3, was_promoted=True), RULES)

    assert (back.deed, back.stage, back.overtaken) == (END, STOPPED, False)
    assert (followed.deed, followed.stage, followed.overtaken) == (END, STOPPED, True)


def test_after_the_promotion_comes_probation_or_where_there_is_none_the_end():
    none = replace(RULES, probation=timedelta(0))
    ended = after_promotion(heard(0), none)

    assert after_promotion(heard(2), RULES).stage == PROBATION
    assert (ended.stage, ended.words) == (DONE, "it is champion; nobody is serving yet")


def test_probation_without_a_fault_ends_well():
    on = run(PROBATION)
    fine = ProbationEvidence(40, (WELL,))

    assert step(on, seen(champion=2, probation=fine)) == (WAIT, PROBATION)
    assert step(on, seen(minutes=1441, champion=2, probation=fine)) == (END, DONE)


def test_a_champion_that_does_worse_than_it_was_judged_is_sent_back():
    made = advance(run(PROBATION), seen(champion=2, probation=ProbationEvidence(40, (TRIPPED,))), RULES)

    assert (made.deed, made.stage, made.words) == (END, ROLLED_BACK, TRIPPED.words)


@pytest.mark.parametrize(("stage", "end"), [(PROBATION, ROLLED_BACK), (CANARY, STOPPED)])
def test_a_worker_that_keeps_refusing_it_ends_it_and_one_that_stumbles_does_not(stage, end):
    refusing = seen(minutes=2, champion=2 if stage == PROBATION else 1, refusal="worker 7 refuses it: corrupt")
    since = refusing.at - REFUSAL_PATIENCE

    def refused(moment):
        return run(stage, facts=RunFacts(counted_from="now", refused_at=moment))

    assert step(refused(""), refusing) == (WAIT, stage)
    assert step(refused((since + timedelta(seconds=1)).isoformat()), refusing) == (WAIT, stage)
    assert step(refused(since.isoformat()), refusing) == (END, end)


def test_a_rollback_by_hand_and_a_successor_end_a_probation_each_in_its_way():
    back = seen(champion=1, went_back=True, champion_words="ada, wrong on hall 3")

    assert step(run(PROBATION), back) == (END, ROLLED_BACK)
    assert step(run(PROBATION), seen(champion=3)) == (END, DONE)
