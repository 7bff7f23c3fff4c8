"""The replay: who answers when, what may teach, and that nothing of the future is looked at."""

from dataclasses import replace

import numpy as np
import pytest

from monitoring.backtesting.evidence_trigger import EvidenceTrigger, WatchRules
from monitoring.backtesting.judging import GATE, GUARD, NOBODY, Judging
from monitoring.backtesting.plain_triggers import Accuracy, Amount, Distance, Never, Schedule
from monitoring.backtesting.replay import ReplayRules, replay
from monitoring.backtesting.replayed_model import first_model, judge_rows, retrained
from monitoring.backtesting.scores import compared
from monitoring.backtesting.stream import JUDGE, TRAIN, UNLABELLED
from monitoring.backtesting.trigger import Said
from monitoring.evidence_records import EvidenceSettings
from monitoring.policies.expression import parse
from monitoring.policies.rules import PolicyRules
from tests.benchmarks.decisions_worlds import Change, quarter

pytestmark = pytest.mark.slow

DAY = np.timedelta64(1, "D")
SUDDEN = Change("sudden drift", ("retrain", "label_first"), harms=True, moved=1.3)
QUIET = Change("no drift", ("nothing",), begin=90)
BLANK = Change("camera fault", ("fix_input",), begin=40, end=50, blank=1.0)


@pytest.fixture(scope="module")
def sudden():
    return quarter(SUDDEN, 1, per_day=60, labels_per_day=15)


@pytest.fixture(scope="module")
def quiet():
    return quarter(QUIET, 1, per_day=60, labels_per_day=15)


def lived(world, trigger, *, judge=NOBODY, minutes=30.0):
    rules = ReplayRules(DAY, minutes, Judging(judge))
    return replay(world.stream, first_model(world.stream, world.profile), trigger, rules)


def kedge(when="any(harm)", **rules):
    return EvidenceTrigger(
        WatchRules(EvidenceSettings(), PolicyRules(when, parse(when), **rules), 30.0, source="camera")
    )


class Once:
    """Asks for a retrain at the first look on or after a day."""

    def __init__(self, day):
        self.day, self.asked, self.promotions = day, False, []

    def look(self, seen):
        if self.asked or seen.now < seen.stream.began + self.day * DAY:
            return Said()
        self.asked = True
        return Said("manual", "once")

    def ended(self, seen, *, promoted):
        self.promotions.append((seen.now, promoted))


def test_a_retrained_model_answers_from_when_it_was_ready(sudden):
    two_days = 2 * 24 * 60.0
    trigger = Once(60)

    found = lived(sudden, trigger, minutes=two_days)
    never = lived(sudden, Never(), minutes=two_days)

    retrain = found.retrains[0]
    assert retrain.ready_at - retrain.asked_at == 2 * DAY
    before = sudden.stream.times[sudden.stream.base :] <= retrain.ready_at
    assert np.array_equal(found.right[before], never.right[before], equal_nan=True)
    assert np.nanmean(found.right[~before]) > np.nanmean(never.right[~before]) + 0.02
    assert trigger.promotions == [(retrain.ready_at, True)]


def test_nothing_of_the_future_is_looked_at(sudden):
    """What is appended to the log later, or labelled later, changes nothing of what a policy did before."""
    stream, cut = sudden.stream, sudden.stream.began + 50 * DAY
    later = stream.labelled_at > cut
    blind = replace(
        stream,
        truth=np.where(later, (stream.truth + 1) % 4, stream.truth),
        batch=replace(stream.batch, embedding=np.where((stream.times > cut)[:, None], 99, stream.batch.embedding)),
    )
    answered_before = stream.times[stream.base :] <= cut
    known_before = answered_before & ~later[stream.base :]
    for make in (lambda: Schedule(10), lambda: Amount(100), lambda: Accuracy(0.9, 50), kedge):
        whole, other = lived(sudden, make()), lived(replace(sudden, stream=blind), make())

        early = [one for one in whole.retrains if one.asked_at <= cut]
        assert early == [one for one in other.retrains if one.asked_at <= cut]
        assert np.array_equal(whole.right[known_before], other.right[known_before], equal_nan=True)


def test_a_label_teaches_only_once_it_has_come(sudden):
    stream = sudden.stream
    moment = stream.began + 40 * DAY

    known = stream.known_at(moment)

    assert (stream.labelled_at[known] <= moment).all()
    asked = stream.drawn & (stream.times <= moment) & (stream.labelled_at > moment)
    assert asked.any()
    assert not known[asked].any()


def test_what_judges_never_teaches(sudden):
    stream, first = sudden.stream, first_model(sudden.stream, sudden.profile)
    moment = stream.began + 60 * DAY

    rows = judge_rows(stream, first, moment)
    model = retrained(stream, first, 1, moment)

    judging = {*rows.old.tolist(), *rows.recent.tolist()}
    teaching = set(np.flatnonzero(stream.known_at(moment) & (stream.roles == TRAIN)).tolist())
    assert model.train_images == len(teaching)
    assert not judging & teaching
    assert all(stream.roles[row] == JUDGE for row in judging)
    assert max(rows.old) < stream.base <= min(rows.recent)


def test_a_picture_that_comes_twice_teaches_once(quiet):
    stream = replace(quiet.stream, files=tuple("the same" for _ in quiet.stream.files))

    assert stream.can_train.sum() == 1


def test_a_schedule_keeps_its_beat(quiet):
    found = lived(quiet, Schedule(20))

    days = [(one.asked_at - quiet.stream.began) / DAY for one in found.retrains]
    assert days == pytest.approx([20, 40, 60, 80], abs=1)


def test_an_amount_counts_labels_that_have_come(quiet):
    found = lived(quiet, Amount(300))

    labels = int((quiet.stream.labelled_at <= quiet.stream.ended).sum()) - quiet.stream.base
    assert len(found.retrains) == labels // 300


def test_a_distance_sees_pictures_that_moved(sudden, quiet):
    assert len(lived(sudden, Distance(300, 0.01)).retrains) >= 1
    assert not lived(quiet, Distance(300, 0.01)).retrains


def test_labelled_accuracy_below_its_threshold_asks(sudden, quiet):
    fell = lived(sudden, Accuracy(0.88, 50)).retrains

    assert fell[0].reason == "performance"
    assert fell[0].asked_at >= sudden.stream.began + 30 * DAY
    assert not lived(quiet, Accuracy(0.80, 50)).retrains


def test_kedge_retrains_for_harm_and_not_before(sudden):
    found = lived(sudden, kedge(), judge=GUARD)

    assert found.retrains[0].reason == "harm"
    assert found.retrains[0].asked_at >= sudden.stream.began + 30 * DAY
    assert [action for _, action in found.verdicts][:2] == ["nothing", "retrain"]


def test_kedge_leaves_a_quiet_quarter_alone(quiet):
    found = lived(quiet, kedge(), judge=GUARD)

    assert not found.retrains
    assert [action for _, action in found.verdicts] == ["nothing"]


def test_kedge_asks_for_the_input_to_be_fixed_and_trains_nothing():
    broken = quarter(BLANK, 1, per_day=200, labels_per_day=20)

    found = lived(broken, kedge("any(harm, labels)", new_labels=900), judge=GUARD)

    days = [((at - broken.stream.began) / DAY, action) for at, action in found.verdicts]
    asked = [day for day, action in days if action == "fix_input"]
    assert asked
    # One picture in four is only just more than the watch tolerates, so it takes some days.
    assert 40 <= asked[0] <= 47
    fixed = next((day for day, _ in days if day > asked[0]), 90.0)
    assert not [one for one in found.retrains if asked[0] <= (one.asked_at - broken.stream.began) / DAY < fixed]


def test_constraints_hold_a_policy_back(quiet):
    often = lived(quiet, kedge("any(labels)", new_labels=100, least_fresh_labels=1, least_labels_in_changed_region=0))
    weekly = lived(
        quiet,
        kedge("any(labels)", new_labels=100, least_fresh_labels=1, least_labels_in_changed_region=0,
              training_minutes_per_month=60.0),
    )  # fmt: skip

    assert len(often.retrains) > len(weekly.retrains)
    asked = np.array([one.asked_at for one in weekly.retrains])
    assert all(((asked > at - 30 * DAY) & (asked <= at)).sum() <= 2 for at in asked)


def test_the_gate_and_the_guard_say_why(sudden):
    gated, guarded = (lived(sudden, Once(45), judge=judge).retrains[0] for judge in (GATE, GUARD))

    assert guarded.promoted
    assert guarded.judged.startswith("not surely worse on")
    assert gated.judged


def test_the_guard_refuses_what_is_surely_worse(sudden):
    stream = sudden.stream
    # People who label wrongly teach a model that is worse on everything old.
    spoilt = replace(stream, truth=np.where(np.arange(len(stream)) < stream.base, stream.truth, (stream.truth + 1) % 4))
    roles = np.where((np.arange(len(stream)) < stream.base) & (stream.roles == TRAIN), "nothing", stream.roles)
    object.__setattr__(spoilt, "roles", roles)

    found = lived(replace(sudden, stream=spoilt), Once(45), judge=GUARD)

    assert not found.retrains[0].promoted
    assert "surely worse on" in found.retrains[0].judged


def test_policies_are_compared_by_accuracy_and_cost(sudden):
    done = [(name, lived(sudden, make())) for name, make in
            (("never", Never), ("monthly", lambda: Schedule(30)), ("idle", lambda: Schedule(89.5)))]  # fmt: skip

    never, monthly, idle = compared(sudden.stream, done, 30.0)

    assert never.on_frontier
    assert monthly.on_frontier
    assert monthly.training_minutes == 30.0 * monthly.retrains
    assert not idle.on_frontier or idle.retrains == 0 or idle.accuracy > never.accuracy
    assert never.labelled == int((sudden.stream.truth[sudden.stream.base :] != UNLABELLED).sum())
    assert sum(period.labelled for period in never.periods) == never.labelled
