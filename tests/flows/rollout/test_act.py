"""A rollout's deeds on a real registry and a real log: every step once, also where it was broken off between two."""

import contextlib
import os
import threading
from datetime import timedelta
from functools import partial

import pytest
import sqlalchemy as sa

from flows import trials
from flows.promote import promote, roll_back
from flows.regimes.sent_back import sent_back
from flows.rollout.act import advance_rollouts, stop
from flows.rollout.begin import begin_rollout
from flows.workplace import Workplace, open_workplace
from infra import schema
from infra.clock import now
from infra.database import open_database, writing
from infra.errors import UserError
from models import rollout_runs, rollouts
from models.registry import Registry
from tests.flows.rollout.answered import CANDIDATE, CHAMPION, Answers, cards

STAGES = "shadow_predictions = 20\ncanary_predictions = 20\ncanary_share = 0.5\n"
NO_STAGES = "shadow_predictions = 0\ncanary_predictions = 0\n"


@pytest.fixture
def place(tmp_path):
    return cards(tmp_path, STAGES)


@pytest.fixture
def answers(place):
    return Answers(place)


def begun(place, job_id="job-1"):
    return begin_rollout(place, CANDIDATE, job_id=job_id, reason="retrain for harm")


def stage(place):
    (newest, *_) = rollout_runs.runs(place.engine, "cards")
    return newest.stage


def on_trial(place):
    return [(one.alias, one.version, one.share) for one in rollouts.running(place.engine, "cards")]


def champions(place):
    return [promotion.version for promotion in place.registry.champions.history()]


def to_probation(place, answers):
    begun(place)
    answers.shadow(20)
    advance_rollouts(place)
    answers.mixed(40)
    advance_rollouts(place)


def test_a_candidate_goes_from_shadow_to_canary_to_everybody_to_probation(place, answers):
    begun(place)
    assert (stage(place), on_trial(place)) == ("shadow", [("shadow", CANDIDATE, 1.0)])

    answers.shadow(20)
    advance_rollouts(place)
    assert (stage(place), on_trial(place)) == ("canary", [("canary", CANDIDATE, 0.5)])

    answers.mixed(40)
    advance_rollouts(place)
    assert (stage(place), on_trial(place), champions(place)) == ("probation", [], [CHAMPION, CANDIDATE])

    kinds = [row.kind for row in place.ledger.rows("rollouts")]
    assert kinds == ["begun", "on trial", "canary", "on trial", "promoting", "probation"]
    assert place.ledger.verify("rollouts") is None


def test_looking_again_and_again_changes_nothing_and_leaves_no_row(place, answers):
    begun(place)
    answers.shadow(5)
    advance_rollouts(place)
    rows = len(place.ledger.rows("rollouts"))

    for _ in range(5):
        advance_rollouts(place)

    assert (stage(place), len(place.ledger.rows("rollouts"))) == ("shadow", rows)
    (run,) = rollout_runs.open_runs(place.engine, "cards")
    assert run.words == "5 of 20 answers as shadow"
    assert run.facts.seen["trial"]["predictions"] == 5


def test_one_job_has_one_rollout_however_often_it_is_begun(place):
    first = begun(place)

    again = begun(place)

    assert again.sequence == first.sequence
    assert len(rollout_runs.runs(place.engine, "cards")) == 1
    assert [row.kind for row in place.ledger.rows("rollouts")] == ["begun", "on trial"]


def test_with_neither_shadow_nor_canary_the_version_is_champion_at_once(tmp_path):
    place = cards(tmp_path, NO_STAGES)

    run = begun(place)
    again = begun(place)

    assert (run.stage, run.promoted, again.promoted) == ("probation", True, True)
    assert champions(place) == [CHAMPION, CANDIDATE]
    assert place.registry.champions.history()[-1].reason.startswith("retrain for harm")


def test_a_first_champion_needs_nobody_to_be_compared_with(tmp_path):
    place = cards(tmp_path, STAGES)
    other = Workplace(**{**vars(place), "registry": Registry(place.engine, place.objects, "cards")})
    with place.engine.begin() as connection:
        connection.execute(sa.text("delete from pointers"))
        connection.execute(sa.text("delete from pointer_history"))

    run = begin_rollout(other, CHAMPION, job_id="job-0", reason="first model")

    assert (run.promoted, champions(place)) == (True, [CHAMPION])


def test_without_probation_a_promotion_is_the_end(tmp_path):
    place = cards(tmp_path, NO_STAGES + "probation_minutes = 0\n")

    run = begun(place)

    assert (run.stage, run.ended_at is not None) == ("done", True)
    assert rollout_runs.open_runs(place.engine, "cards") == ()


def test_a_shadow_that_answers_otherwise_stops_and_nobody_met_it(place, answers):
    begun(place)
    answers.shadow(40, theirs="light", ours="dark")

    advance_rollouts(place)

    (run,) = rollout_runs.runs(place.engine, "cards")
    assert (run.stage, on_trial(place), champions(place)) == ("stopped", [], [CHAMPION])
    assert "a person has to decide" in run.words
    assert [row.kind for row in place.ledger.rows("rollouts")][-2:] == ["closing", "stopped"]


def test_a_shadow_that_answers_otherwise_and_by_its_labels_rightly_goes_on(place, answers):
    begun(place)
    answers.label(answers.shadow(40, theirs="light", ours="dark")[:20], "dark")

    advance_rollouts(place)

    assert stage(place) == "canary"


def test_labels_that_people_volunteer_explain_no_disagreement(tmp_path):
    place = cards(tmp_path, STAGES)
    path = place.settings.root / "kedge.toml"
    path.write_text(path.read_text().replace("feedback_is_random = true", "feedback_is_random = false"))
    place = open_workplace(place.settings.root)
    begun(place)
    answers = Answers(place)
    answers.label(answers.shadow(40, theirs="light", ours="dark")[:20], "dark")

    advance_rollouts(place)

    assert stage(place) == "stopped"


def test_a_canary_whose_labelled_answers_are_wrong_stops_before_it_has_all_its_answers(tmp_path):
    place = cards(tmp_path, "shadow_predictions = 0\ncanary_predictions = 500\ncanary_share = 0.5\n")
    answers = Answers(place)
    begun(place)
    own = answers.mixed(120)
    answers.label(own, "dark")
    answers.label(answers.champion(60), "light")

    advance_rollouts(place)

    assert stage(place) == "canary", "labels of the champion came after all of the canary's: there are no pairs yet"
    more = answers.mixed(120)
    everybody = place.log.labelled()["id"].to_list()
    for one in place.log.recent(120):
        if one.id not in everybody:
            answers.label([one.id], "dark" if one.id in more else "light")
    advance_rollouts(place)

    (run,) = rollout_runs.runs(place.engine, "cards")
    assert (run.stage, on_trial(place), champions(place)) == ("stopped", [], [CHAMPION])
    assert run.words.startswith("as canary its labelled answers are wrong more often than the champion's, by ")


def test_a_canary_that_is_much_less_sure_or_answers_one_class_only_stops_without_a_label(tmp_path):
    place = cards(tmp_path, "shadow_predictions = 0\ncanary_predictions = 500\ncanary_share = 0.5\n")
    answers = Answers(place)
    begun(place)

    answers.mixed(200, label="light", trial_label="dark")
    advance_rollouts(place)

    (run,) = rollout_runs.runs(place.engine, "cards")
    assert run.stage == "stopped"
    assert "as canary it gives other answers than the champion" in run.words


def test_a_canary_that_fails_leaves_its_predictions_to_the_champion_and_stops(tmp_path):
    place = cards(tmp_path, "shadow_predictions = 0\ncanary_predictions = 500\ncanary_share = 0.5\n")
    begun(place)

    Answers(place).champion(60)
    advance_rollouts(place)

    (run,) = rollout_runs.runs(place.engine, "cards")
    assert run.stage == "stopped"
    assert "as canary it left 100.0% of the predictions to the champion" in run.words


def test_a_champion_that_disappoints_on_probation_is_sent_back_and_marked(tmp_path):
    place = cards(tmp_path, NO_STAGES)
    answers = Answers(place)
    before = answers.champion(60)
    answers.label(before, "light")
    begun(place)

    answers.label(answers.champion(40, version=CANDIDATE), "dark")
    advance_rollouts(place)

    (run,) = rollout_runs.runs(place.engine, "cards")
    assert (run.stage, run.promoted, champions(place)) == ("rolled_back", False, [CHAMPION, CANDIDATE, CHAMPION])
    assert "since its promotion 100.0% of the labelled answers were wrong" in run.words
    assert place.registry.version(CANDIDATE).state == "disappointed"
    assert place.registry.champions.history()[-1].actor == "kedge rollout"


def test_what_was_sent_back_goes_out_again_only_where_a_person_says_so(tmp_path):
    place = cards(tmp_path, NO_STAGES)
    answers = Answers(place)
    answers.label(answers.champion(60), "light")
    first = begun(place)
    answers.label(answers.champion(40, version=CANDIDATE), "dark")
    advance_rollouts(place)

    assert begun(place).sequence == first.sequence, "the same job gets the rollout that it had"
    with pytest.raises(UserError, match=r"cards:2 was champion before and was sent back"):
        begun(place, "job-2")
    assert champions(place)[-1] == CHAMPION

    person = begin_rollout(place, CANDIDATE, reason="checked by Ada", actor="ada")
    assert person.promoted
    assert place.registry.version(CANDIDATE).state == "champion"


def test_where_the_champion_before_was_as_bad_going_back_would_not_help(tmp_path):
    place = cards(tmp_path, NO_STAGES)
    answers = Answers(place)
    answers.label(answers.champion(60), "dark")
    begun(place)

    answers.label(answers.champion(40, version=CANDIDATE), "dark")
    advance_rollouts(place)

    assert stage(place) == "probation"


def test_volunteered_labels_send_nobody_back(tmp_path):
    place = cards(tmp_path, NO_STAGES)
    answers = Answers(place)
    answers.label(answers.champion(60), "light")
    begun(place)
    answers.label(answers.champion(40, version=CANDIDATE), "dark")
    text = (place.settings.root / "kedge.toml").read_text().replace("feedback_is_random = true", "")
    (place.settings.root / "kedge.toml").write_text(text)

    advance_rollouts(open_workplace(place.settings.root))

    assert stage(place) == "probation"


def test_a_rollback_by_hand_ends_the_probation_and_is_not_undone(place, answers):
    to_probation(place, answers)

    roll_back(place, actor="ada", reason="wrong on hall 3")
    advance_rollouts(place)

    (run,) = rollout_runs.runs(place.engine, "cards")
    assert (run.stage, run.words) == ("rolled_back", "version 1 answers again: ada, wrong on hall 3")
    assert champions(place) == [CHAMPION, CANDIDATE, CHAMPION]


def test_the_version_before_that_is_promoted_over_it_follows_it_and_nothing_speaks_against_either(tmp_path):
    place = cards(tmp_path, NO_STAGES)
    begun(place)

    begin_rollout(place, CHAMPION, job_id="job-2", reason="retrain for harm")
    advance_rollouts(place)

    older = rollout_runs.of_job(place.engine, "cards", "job-1")
    assert champions(place) == [CHAMPION, CANDIDATE, CHAMPION]
    assert (older.stage, older.words.startswith("version 1 followed it: kedge rollout, ")) == ("done", True)
    assert sent_back(place.registry) == {}


def test_a_rollback_ends_the_probation_as_such_though_another_version_was_promoted_before_the_next_look(tmp_path):
    place = cards(tmp_path, NO_STAGES)
    begun(place)

    place.registry.champions.rollback(actor="ada", reason="wrong on hall 3")
    place.registry.register(place.settings.root.parent / "candidate-1", reason="test", parent_version=None)
    place.registry.champions.promote(3, actor="ada", reason="this one")
    advance_rollouts(place)

    assert stage(place) == "rolled_back"
    assert list(sent_back(place.registry)) == [CANDIDATE]


def a_worker(place, **trial):
    """A serving worker that answers with the champion."""
    row = {
        "id": "worker-1", "host": os.uname().nodename, "pid": os.getpid(), "slot": "0", "model_name": "cards",
        "version": CHAMPION, "error": None, "started_at": now(), "seen_at": now() + timedelta(seconds=5), **trial,
    }  # fmt: skip
    with writing(place.engine) as connection:
        connection.execute(schema.serving_workers.insert().values(**row))


@pytest.mark.parametrize(
    ("trial", "said", "barred"),
    [
        ({}, "did not take it in time", []),
        ({"rollout_error": "version 2 was refused: corrupt"}, "refused it", [CANDIDATE]),
    ],
)
def test_only_a_worker_that_refuses_a_version_speaks_against_it_and_not_one_that_is_late(
    place, monkeypatch, trial, said, barred
):
    monkeypatch.setattr(trials, "start", partial(trials.start, wait_s=0.2))
    a_worker(place, **trial)

    run = begun(place)

    assert (run.stage, said in run.words) == ("stopped", True)
    assert list(sent_back(place.registry)) == barred


def test_another_version_promoted_by_hand_stops_a_rollout_and_its_trial(place):
    begun(place)
    place.registry.register(place.settings.root.parent / "candidate-1", reason="test", parent_version=None)

    promote(place, 3, actor="ada", reason="this one")
    advance_rollouts(place)

    assert (stage(place), on_trial(place), champions(place)) == ("stopped", [], [CHAMPION, 3])


def test_a_newer_candidate_overtakes_one_that_is_still_on_trial(place):
    begun(place)
    place.registry.register(place.settings.root.parent / "candidate-1", reason="test", parent_version=None)

    begin_rollout(place, 3, job_id="job-2", reason="retrain for harm")

    newer, older = rollout_runs.runs(place.engine, "cards")
    assert (older.stage, older.words) == ("stopped", "overtaken by version 3, whose rollout began")
    assert older.facts.overtaken, "nothing speaks against it: it may come back from the archive"
    assert (newer.stage, on_trial(place)) == ("shadow", [("shadow", 3, 1.0)])


def test_a_rollout_is_ended_by_hand(place):
    run = begun(place)

    stop(place, rollout_runs.run_of(place.engine, "cards", run.sequence), actor="ada", reason="not now")

    (over,) = rollout_runs.runs(place.engine, "cards")
    assert (over.stage, over.words, on_trial(place)) == ("stopped", "ada ended it: not now", [])


def test_a_step_that_somebody_else_took_meanwhile_is_not_taken_again(place):
    stale = begun(place)
    stop(place, stale, actor="ada", reason="not now")

    with pytest.raises(UserError, match="took a step meanwhile"):
        stop(place, stale, actor="bob", reason="me too")


class Killed(BaseException):
    """The process ends here."""


def killed_at(engine, number):
    """The engine's n-th transaction from now on never begins: what was committed before stays."""
    left = iter(range(number))

    def die(_connection):
        if next(left, None) is None:
            raise Killed

    sa.event.listen(engine, "begin", die)
    return die


@pytest.mark.slow
@pytest.mark.parametrize("number", range(0, 76, 4))
def test_killed_between_any_two_deeds_the_next_look_goes_on_and_promotes_once(tmp_path, number):
    place = cards(tmp_path, STAGES)
    answers = Answers(place)
    die = killed_at(place.engine, number)
    lives = 0

    def alive(act):
        nonlocal lives
        try:
            return act()
        except Killed:
            lives += 1
            sa.event.remove(place.engine, "begin", die)
            return act()

    alive(lambda: begun(place))
    if stage(place) == "shadow":
        answers.shadow(20)
    alive(lambda: advance_rollouts(place))
    answers.mixed(40)
    alive(lambda: advance_rollouts(place))
    if not lives:
        sa.event.remove(place.engine, "begin", die)
    advance_rollouts(place)

    assert (stage(place), on_trial(place), champions(place)) == ("probation", [], [CHAMPION, CANDIDATE])
    assert len(rollout_runs.runs(place.engine, "cards")) == 1
    assert place.ledger.verify("rollouts") is None


@pytest.mark.slow
@pytest.mark.parametrize("number", range(0, 30, 3))
def test_killed_on_the_way_back_the_next_look_goes_back_once(tmp_path, number):
    place = cards(tmp_path, NO_STAGES)
    answers = Answers(place)
    answers.label(answers.champion(60), "light")
    begun(place)
    answers.label(answers.champion(40, version=CANDIDATE), "dark")
    die = killed_at(place.engine, number)

    with contextlib.suppress(Killed):
        advance_rollouts(place)
    sa.event.remove(place.engine, "begin", die)
    advance_rollouts(place)

    assert (stage(place), champions(place)) == ("rolled_back", [CHAMPION, CANDIDATE, CHAMPION])
    assert place.registry.version(CANDIDATE).state == "disappointed"


def test_two_processes_at_once_promote_once(tmp_path):
    place = cards(tmp_path, STAGES)
    answers = Answers(place)
    begun(place)
    answers.shadow(20)
    answers.mixed(40)
    others = [Workplace(**{**vars(place), "engine": engine, "registry": Registry(engine, place.objects, "cards")})
              for engine in (open_database(place.settings.storage.database) for _ in range(4))]  # fmt: skip
    threads = [threading.Thread(target=advance_rollouts, args=(other,)) for other in others]

    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    answers.mixed(40)
    for other in others:
        advance_rollouts(other)

    assert (stage(place), on_trial(place), champions(place)) == ("probation", [], [CHAMPION, CANDIDATE])
    kinds = [row.kind for row in place.ledger.rows("models")]
    assert kinds.count("promoted") == 2, "the champion's own, and one"
