"""An undecided candidate's way out: it waits as a shadow, and is judged by itself when its labels have come."""

from datetime import timedelta

import pytest

from flows.gating.second_reading import read_again
from flows.retraining import queue_retrain, run_job
from flows.rollout.act import advance_rollouts
from flows.rollout.begin import begin_rollout
from flows.status import status
from infra import schema
from infra.clock import now
from infra.database import writing
from infra.errors import UserError
from infra.jobs import claim_job, finish_job, jobs, queue_job
from models import rollout_runs, rollouts
from models.gate_needs import needs_from_json
from models.gate_records import GateDecision
from monitoring.labelling.waiting import waiting_version
from tests.flows.gating.opinions import STRICT, open_project, reader, registered
from tests.flows.gating.test_gate_command import GREEN, RED, candidate_of, kedge, labelled, manifest
from tests.flows.jobs.small_projects import worker

BLUE = 2


def project(tmp_path, monkeypatch, rollout="canary_predictions = 0\n"):
    """A project whose champion reads red, and whose candidate is undecided and on its way."""
    place = open_project(tmp_path / "project", STRICT + "[rollout]\n" + rollout)
    manifest(tmp_path / "project", wrong=(0.05, 0.05, 0.0))
    monkeypatch.chdir(tmp_path / "project")
    return place


@pytest.fixture
def place(tmp_path, monkeypatch):
    return project(tmp_path, monkeypatch)


def sent_out(place, tmp_path):
    _, version = candidate_of(place, tmp_path)
    decision = GateDecision.from_json(version.gate)
    begin_rollout(place, version.version, job_id="job-1", reason="retrain for harm", decision=decision)
    return version


def newest(place):
    return rollout_runs.runs(place.engine, "cards", last=1)[0]


def labels_come(place, version, wrong=RED):
    """As many as were asked for; in an eighth of them a channel, and whoever reads it, is wrong."""
    most = max(one.labels for one in needs_from_json(version.gate))
    labelled(place, most + 60, wrong=most // 8, scope="old", channel=wrong)


def done(place):
    """Do the job that waits, as the runner does."""
    job = next(one for one in jobs(place.engine) if one.state == "queued")
    return run_job(place.settings, job.id, "manual")


def test_it_waits_as_a_shadow_says_for_what_and_is_no_canary(place, tmp_path):
    version = sent_out(place, tmp_path)

    advance_rollouts(place)

    run = newest(place)
    assert run.stage == "waiting"
    assert [(one.alias, one.version, one.share) for one in rollouts.running(place.engine, "cards")] == [
        ("shadow", 2, 1.0)
    ]
    assert "labels of any image, old have come; on " in run.words
    assert waiting_version(place.registry, 1).version == version.version
    assert jobs(place.engine) == ()


def test_people_read_of_it_in_status_and_rollout(place, tmp_path):
    sent_out(place, tmp_path)

    (told,) = status(place).rollouts

    assert (told.version, told.stage) == (2, "waiting")
    assert "undecided and waits for labels" in " ".join(kedge("status").stdout.split())
    assert "waiting" in kedge("rollout").stdout


def test_when_its_labels_have_come_it_is_judged_once_by_a_job_and_goes_on(place, tmp_path):
    version = sent_out(place, tmp_path)
    labels_come(place, version)

    for _ in range(3):
        advance_rollouts(place)
    asked = jobs(place.engine)
    outcome = done(place)

    assert [(one.kind, one.reason, one.evidence) for one in asked] == [
        ("judge", "second reading", {"version": 2, "rollout": 1})
    ]
    assert outcome.state == "done"
    assert "cards:2 was judged once more, with the labels that have come: promote." in outcome.words
    # The gate has spoken; what callers see is the rollout's next concern, from its beginning.
    assert place.registry.version(2).state == "registered"
    assert (newest(place).stage, newest(place).facts.longer) == ("shadow", False)
    assert len(jobs(place.engine)) == 1
    assert [row.kind for row in place.ledger.rows("judge-readings")] == ["reading", "reading"]
    assert [row.kind for row in place.ledger.rows("rollouts")] == [
        "begun", "on trial", "labels came", "shadow", "on trial",
    ]  # fmt: skip


def test_where_the_settings_know_no_shadow_it_waits_without_one_and_is_champion_by_itself(tmp_path, monkeypatch):
    place = project(tmp_path, monkeypatch, "shadow_predictions = 0\ncanary_predictions = 0\n")
    version = sent_out(place, tmp_path)
    waited = (newest(place).stage, rollouts.running(place.engine, "cards"))
    labels_come(place, version)
    advance_rollouts(place)

    done(place)

    assert waited == ("waiting", ())
    assert place.registry.champions.current() == 2
    assert newest(place).stage == "probation"
    assert "judged once more, the gate lets it through" in place.registry.champions.history()[-1].reason


def test_one_that_proves_worse_is_refused_and_its_shadow_ends(place, tmp_path):
    version = sent_out(place, tmp_path)
    labels_come(place, version, wrong=GREEN)
    advance_rollouts(place)

    outcome = done(place)

    assert outcome.state == "refused"
    assert place.registry.version(2).state == "refused"
    run = newest(place)
    assert (run.stage, run.ended_at is not None) == ("stopped", True)
    assert run.words.startswith("judged once more, it does not pass: ")
    assert rollouts.running(place.engine, "cards") == ()
    assert waiting_version(place.registry, 1) is None


def test_a_reading_that_decides_nothing_is_the_last(place, tmp_path):
    sent_out(place, tmp_path)
    labelled(place, 5, scope="old")

    kedge("judge", "2", "--anyway")

    assert place.registry.version(2).state == "refused"
    assert newest(place).stage == "stopped"
    assert newest(place).words == (
        "judged once more, it does not pass: the gate is still undecided, and no other reading is planned"
    )


def test_a_person_who_judges_it_by_hand_sends_it_on_and_no_job_follows(place, tmp_path):
    version = sent_out(place, tmp_path)
    labels_come(place, version)

    read_again(place, 2, anyway=False, actor="ada")
    advance_rollouts(place)

    assert newest(place).stage == "shadow"
    assert jobs(place.engine) == ()


def test_one_that_a_person_sends_out_waits_no_more_and_is_not_given_up(place, tmp_path):
    sent_out(place, tmp_path)

    begin_rollout(place, 2, reason="it is urgent", actor="ada")

    before, after = reversed(rollout_runs.runs(place.engine, "cards"))
    assert (before.stage, before.words, after.stage) == ("stopped", "begun anew by ada: it is urgent", "shadow")
    assert place.registry.version(2).state == "registered"
    assert [row.kind for row in place.ledger.rows("models")][-3:] == ["sent out", "shadow ended", "shadow started"]


def test_what_is_on_its_way_to_the_callers_is_not_judged_again_and_begun_anew_only_by_name(place, tmp_path):
    sent_out(place, tmp_path)
    begin_rollout(place, 2, reason="it is urgent", actor="ada")

    with pytest.raises(UserError, match="on its way to the callers"):
        read_again(place, 2, anyway=True, actor="bob")
    with pytest.raises(UserError, match="is on its way already: shadow"):
        begin_rollout(place, 2, reason="at last", actor="bob")
    begun = begin_rollout(place, 2, reason="at last", actor="bob", stage="promoting")

    assert begun.promoted
    assert place.registry.champions.current() == 2


def test_while_another_job_is_open_it_waits_for_that_and_is_asked_for_afterwards(place, tmp_path):
    version = sent_out(place, tmp_path)
    labels_come(place, version)
    other = claim_job(place.engine, queue_job(place.engine, "retrain", "manual").id)

    advance_rollouts(place)
    before = [one.kind for one in jobs(place.engine)]
    finish_job(place.engine, other.id, "declined", claim=other.claim)
    advance_rollouts(place)

    assert before == ["retrain"]
    assert [one.kind for one in jobs(place.engine)] == ["judge", "retrain"]


def test_who_asks_for_a_retrain_meanwhile_is_told_what_is_done_first(place, tmp_path):
    version = sent_out(place, tmp_path)
    labels_come(place, version)
    advance_rollouts(place)

    with pytest.raises(UserError, match="Version 2 is judged once more first"):
        queue_retrain(place, "manual")

    assert [one.kind for one in jobs(place.engine)] == ["judge"]


def test_a_reading_that_is_cancelled_or_fails_is_not_asked_for_again_and_again(place, tmp_path):
    version = sent_out(place, tmp_path)
    labels_come(place, version)
    advance_rollouts(place)

    finish_job(place.engine, jobs(place.engine)[0].id, "cancelled")
    for _ in range(3):
        advance_rollouts(place)

    assert len(jobs(place.engine)) == 1
    assert newest(place).words == "it was to be judged once more, and that job is cancelled"
    assert place.registry.version(2).state == "refused"


def test_when_the_champion_changes_it_waits_no_more(place, tmp_path):
    sent_out(place, tmp_path)
    registered(place, reader(tmp_path / "c", BLUE))

    advance_rollouts(place)

    assert newest(place).stage == "stopped"
    assert place.registry.version(2).state == "refused"
    assert place.ledger.rows("models")[-1].kind == "given up"


def test_one_whose_labels_do_not_come_is_given_up(place, tmp_path):
    sent_out(place, tmp_path)
    with writing(place.engine) as connection:
        connection.execute(schema.rollout_runs.update().values(stage_since=now() - timedelta(days=15)))

    advance_rollouts(place)

    assert newest(place).stage == "expired"
    assert "UTC 0 of" in newest(place).words
    assert place.registry.version(2).state == "refused"
    assert rollouts.running(place.engine, "cards") == ()


def test_one_that_got_some_of_its_labels_is_judged_with_those_when_its_time_is_over(place, tmp_path):
    sent_out(place, tmp_path)
    labelled(place, 5, scope="old")
    with writing(place.engine) as connection:
        connection.execute(schema.rollout_runs.update().values(stage_since=now() - timedelta(days=15)))

    advance_rollouts(place)
    (job,) = jobs(place.engine)
    done(place)

    assert job.kind == "judge"
    assert [row.kind for row in place.ledger.rows("judge-readings")] == ["reading", "reading"]
    assert place.registry.version(2).state == "refused"
    assert newest(place).stage == "stopped"


def test_a_weekend_without_a_picture_does_not_put_its_day_off(place, tmp_path):
    sent_out(place, tmp_path)
    days_ago = now() - timedelta(days=10)
    with writing(place.engine) as connection:
        connection.execute(schema.rollout_runs.update().values(stage_since=days_ago))

    advance_rollouts(place)

    assert newest(place).stage == "waiting"
    assert newest(place).stage_since == days_ago


def test_a_newer_candidate_takes_the_place_of_one_that_waits(place, tmp_path):
    sent_out(place, tmp_path)
    later = place.registry.register(reader(tmp_path / "c", BLUE), reason="manual", parent_version=1)

    begin_rollout(place, later.version, job_id="job-2", reason="retrain for manual")

    first = rollout_runs.runs(place.engine, "cards")[-1]
    assert (first.version, first.stage) == (2, "stopped")
    assert place.registry.version(2).state == "refused"
    assert [one.version for one in rollouts.running(place.engine, "cards")] == [3]


@pytest.mark.slow
def test_killed_wherever_it_hurts_the_gate_reads_once_and_the_rollout_goes_on_once(place, tmp_path):
    version = sent_out(place, tmp_path)
    labels_come(place, version)
    advance_rollouts(place)
    (job,) = jobs(place.engine)

    ends = []
    for deed in ("flows.judging:_note_reading", "flows.gating.second_reading:note_judged_again", ""):
        process = worker(place.settings.root, job.id, deed)
        ends.append((process.communicate()[1], process.returncode))

    assert [code for _, code in ends] == [-9, -9, 0], ends[-1][0]
    (after,) = jobs(place.engine)
    assert (after.state, after.attempts) == ("done", 3)
    assert place.registry.version(2).state == "registered"
    assert newest(place).stage == "shadow"
    kinds = [row.kind for row in place.ledger.rows("judge-readings")]
    assert kinds.count("reading") == 2
    assert [row.kind for row in place.ledger.rows("rollouts")].count("shadow") == 1
