"""A replayed candidate about which the gate is undecided waits for labels, as in production."""

from dataclasses import replace

import numpy as np
import pytest

from models.gate_records import DIFFERENT, Answers
from monitoring.backtesting.judging import GATE, GUARD, Judging
from monitoring.backtesting.replay import ReplayRules, replay
from monitoring.backtesting.replayed_model import answers_of, first_model, judge_rows
from monitoring.backtesting.stream import JUDGE, AskedFor
from monitoring.backtesting.trigger import Said
from tests.benchmarks.decisions_labeller import TenADay
from tests.benchmarks.decisions_worlds import Change, quarter

pytestmark = pytest.mark.slow

DAY = np.timedelta64(1, "D")
SUDDEN = Change("sudden drift", ("retrain", "label_first"), harms=True, moved=1.3)


@pytest.fixture(scope="module")
def sudden():
    return quarter(SUDDEN, 1, per_day=200, labels_per_day=20)


class Always:
    """Asks for a retrain, for harm, at every look from one day to another, whatever is on its way."""

    def __init__(self, day, last=90):
        self.day, self.last, self.ends = day, last, []

    def look(self, seen):
        day = (seen.now - seen.stream.began) / DAY
        return Said("harm", "always") if self.day <= day <= self.last else Said()

    def ended(self, seen, *, promoted):
        self.ends.append((seen.now, promoted))


def lived(world, trigger, **rules):
    given = ReplayRules(DAY, 30.0, Judging(rules.pop("judge", GATE)), **rules)
    return replay(world.stream, first_model(world.stream, world.profile), trigger, given)


@pytest.fixture(scope="module")
def answered(sudden):
    """Enough people answer whatever is asked."""
    trigger = Always(40)
    return trigger, lived(sudden, trigger, labeller=TenADay(per_day=200), most_waiting=25 * DAY)


@pytest.fixture(scope="module")
def unanswered(sudden):
    trigger = Always(40)
    return trigger, lived(sudden, trigger, most_waiting=14 * DAY)


def test_an_undecided_candidate_that_gets_its_labels_is_judged_once_more_and_promoted(sudden, answered):
    trigger, found = answered
    first = found.retrains[0]

    assert first.judged.startswith("Undecided")
    assert first.judged_again.startswith("Promote")
    assert "Reading 2 of 2" in first.judged_again
    assert first.promoted
    assert first.asked_labels > 0
    assert 1 <= first.waited_days < 25
    assert trigger.ends[0][1]
    before = (sudden.stream.times[sudden.stream.base :] - first.ready_at) / DAY <= first.waited_days
    assert np.nanmean(found.right[~before]) > np.nanmean(found.right[before])


def test_one_whose_labels_do_not_come_is_judged_with_those_that_chance_brought(unanswered):
    trigger, found = unanswered
    first = found.retrains[0]

    assert first.judged.startswith("Undecided")
    assert not first.promoted
    assert first.asked_labels == 0
    assert first.waited_days == pytest.approx(15, abs=1)
    assert "Reading 2 of 2" in first.judged_again
    assert trigger.ends[0] == (first.ready_at + np.timedelta64(round(first.waited_days * 86_400e6), "us"), False)


def test_it_does_not_wait_for_what_people_could_not_give_in_time_and_are_not_asked_for(sudden):
    first = lived(sudden, Always(52, last=53), labeller=TenADay(per_day=15), most_waiting=30 * DAY).retrains[0]

    assert "about 478 more labels would probably decide" in first.judged
    assert "Reading 2 of 2" in first.judged_again
    assert first.asked_labels < 478
    assert first.waited_days < 29


@pytest.mark.parametrize("random", [False, True])
def test_volunteered_labels_prove_a_gain_only_where_they_are_said_to_be_random(sudden, random):
    volunteered = replace(sudden.stream, drawn=np.arange(len(sudden.stream)) < sudden.stream.base)

    world, trigger = replace(sudden, stream=volunteered), Always(50, last=51)
    first = lived(world, trigger, feedback_is_random=random, most_waiting=3 * DAY).retrains[0]

    assert ("prove no gain: their labels were volunteered" in first.judged) != random
    assert ("Reading 2 of 2" in first.judged_again) == random
    assert "prove no gain: their labels were volunteered" not in first.judged_again


@pytest.mark.parametrize("outcome", ["answered", "unanswered"])
def test_no_other_retrain_begins_while_one_waits(outcome, request):
    _, found = request.getfixturevalue(outcome)

    for one, other in zip(found.retrains, found.retrains[1:], strict=False):
        waited = np.timedelta64(round(one.waited_days * 86_400e6), "us")
        assert other.asked_at >= one.ready_at + waited


def test_what_is_never_decided_says_so_when_the_log_ends(sudden):
    last = lived(sudden, Always(80)).retrains[-1]

    assert last.judged_again == "Still waiting when the log ended."
    assert not last.promoted


def test_a_guard_decides_at_once(sudden):
    found = lived(sudden, Always(60), judge=GUARD, labeller=TenADay())

    assert all(one.waited_days == 0 and one.judged_again == "" for one in found.retrains)


def test_what_was_asked_because_it_is_answered_differently_counts_for_that_candidate_alone(sudden):
    stream, first = sudden.stream, first_model(sudden.stream, sudden.profile)
    now = stream.began + 50 * DAY
    row = next(row for row in range(stream.base, len(stream)) if stream.roles[row] == JUDGE and not stream.drawn[row])

    asked = stream.with_labels({row: now - DAY}, {row: AskedFor(7, DIFFERENT, "recent")})

    mine, another = judge_rows(asked, first, now, 7), judge_rows(asked, first, now, 8)
    assert row in mine.recent
    assert row not in another.recent
    told: Answers = answers_of(asked, first, mine.recent)
    assert told.asked_as_different.sum() == 1
    assert not told.measuring[told.asked_as_different].any()


def test_what_was_asked_of_the_old_world_judges_there(sudden):
    stream, first = sudden.stream, first_model(sudden.stream, sudden.profile)
    now = stream.began + 50 * DAY
    row = next(row for row in range(stream.base, len(stream)) if stream.roles[row] == JUDGE and not stream.drawn[row])

    asked = stream.with_labels({row: now - DAY}, {row: AskedFor(7, "overall", "old")})

    rows = judge_rows(asked, first, now, 8)
    assert row in rows.old
    assert row not in rows.recent
