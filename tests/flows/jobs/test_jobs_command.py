"""`kedge jobs`, `show` and `cancel` over real rows."""

import json
import os
import signal

import pytest

from flows import retraining
from flows.backtest.backtesting import training_cost
from flows.jobs.cancel import cancel_job, cancel_of_run
from flows.workplace import open_workplace
from infra import schema
from infra.database import writing
from infra.errors import UserError
from infra.heartbeat import beat
from infra.job_claims import begin_again, hand_back
from infra.jobs import claim_job, find_job, finish_job, jobs, note_run_dir, open_jobs, queue_job
from models import rollout_runs
from models.rollout_runs import RunFacts
from tests.service.cards import write_candidate


@pytest.fixture
def ctrl_c_is_heard():
    """Tests that run side by side are told to ignore it."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    return open_workplace(tmp_path)


def closed(place, state, **facts):
    job = claim_job(place.engine, queue_job(place.engine, "retrain", "harm").id)
    finish_job(place.engine, job.id, state, claim=job.claim, **facts)
    return job


def test_before_the_first_job_the_command_says_what_makes_one(place, kedge):
    code, out, _ = kedge("jobs")

    assert code == 0
    assert out.startswith("No training job yet. `kedge train` makes the first model")


def test_jobs_are_listed_newest_first_with_what_came_of_each(place, kedge):
    promoted = closed(place, "done", outcome={"version": 2, "promoted": True})
    declined = closed(place, "declined", outcome={"words": "No gain to be seen; 40 more labels would change that."})
    failed = closed(place, "failed", error="no disk\nTraceback …")
    waiting = queue_job(place.engine, "retrain", "schedule")

    _, out, _ = kedge("jobs")
    _, document, _ = kedge("jobs", "--json", "--last", "3")

    lines = [line for line in out.splitlines() if line.startswith(" …")]
    assert [line.split()[:2] for line in lines] == [
        [f"…{job.id[-8:]}", state]
        for job, state in ((waiting, "queued"), (failed, "failed"), (declined, "declined"), (promoted, "done"))
    ]
    for line, words in zip(
        lines,
        ("waits for the runner of `kedge up`", "no disk", "40 more labels", "version 2, promoted"),
        strict=True,
    ):
        assert words in line
    assert "Traceback" not in out
    told = json.loads(document)
    assert [one["id"] for one in told] == [waiting.id, failed.id, declined.id]
    assert (told[1]["state"], told[1]["attempts"]) == ("failed", 1)


def test_one_job_is_told_with_its_attempts_its_training_and_its_rows_of_the_ledger(place, kedge, tmp_path):
    job = claim_job(place.engine, queue_job(place.engine, "retrain", "harm", {"window": 7}).id)
    note_run_dir(place.engine, job.id, str(tmp_path), claim=job.claim)
    begin_again(place.engine, job, "models.training was killed by SIGKILL")
    lines = [
        {"kind": "epoch", "stage_name": "head", "epoch": 1, "epochs": 1},
        {"kind": "epoch", "stage_name": "whole network", "epoch": 2, "epochs": 9},
    ]
    (tmp_path / "progress.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines) + '{"kind": "ep')

    _, out, _ = kedge("jobs", "show", job.id[-8:])
    _, document, _ = kedge("jobs", "show", job.id[-8:], "--json")

    assert f"retrain {job.id} running" in out
    assert "attempt 2 on " in out
    assert "training: whole network, epoch 2 of at most 9" in out
    assert "retried" in out
    assert "models.training was killed by SIGKILL" in out
    told = json.loads(document)
    assert (told["job"]["attempts"], told["evidence"]["window"], told["progress"]["epoch"]) == (2, 7, 2)
    assert [row["kind"] for row in told["ledger"]] == ["asked", "retried"]


def test_how_long_a_job_took_counts_everybody_who_had_it(place, kedge):
    job = claim_job(place.engine, queue_job(place.engine, "retrain", "harm").id)
    worked_before(place, job, 42)
    listed = kedge("jobs")[1]
    finish_job(place.engine, job.id, "done", claim=job.claim, outcome={"version": 2})

    (told,) = json.loads(kedge("jobs", "--json")[1])

    assert "42 min" in listed
    assert told["seconds"] == pytest.approx(42 * 60, abs=60)
    assert " 42 min in all" in kedge("jobs", "show", job.id)[1]
    assert training_cost(jobs(place.engine), 30.0)[0] == pytest.approx(42, abs=1)


def worked_before(place, job, minutes):
    """As if others had had the job for so long before."""
    mine, evidence = schema.jobs.c.id == job.id, {**job.evidence, "minutes_before": float(minutes)}
    with writing(place.engine) as connection:
        connection.execute(schema.jobs.update().where(mine).values(evidence=evidence))


def test_a_waiting_job_is_cancelled_at_once_and_one_that_is_over_is_not(place, kedge):
    job = queue_job(place.engine, "retrain", "harm")

    first = kedge("jobs", "cancel", job.id)
    again = kedge("jobs", "cancel", job.id)

    assert first[:2] == (0, f"Job {job.id} is cancelled after 0.0 s; nothing of it runs any more.\n")
    assert again[0] == 1
    assert f"Job {job.id} is over: cancelled. There is nothing to cancel" in again[2]


def test_who_does_not_answer_a_wish_to_cancel_is_named(place):
    # This process claims it and does not look.
    job = claim_job(place.engine, queue_job(place.engine, "retrain", "harm").id)

    with pytest.raises(UserError, match="has not answered within 0 s"):
        cancel_job(place, job, "ada", within_s=0.1)

    assert find_job(place.engine, job.id).cancel_asked_at is not None


def test_a_run_that_is_cancelled_in_prefect_takes_its_job_along(place):
    job = queue_job(place.engine, "retrain", "harm")

    cancel_of_run(place.settings, job.id)
    cancel_of_run(place.settings, job.id)
    cancel_of_run(place.settings, "")

    ended = find_job(place.engine, job.id)
    assert (ended.state, ended.error) == ("cancelled", "cancelled by Prefect")


def sent_out(place, job, stage):
    """As if the job had begun the rollout of version 3, which has come to this stage."""
    return rollout_runs.begin(
        place.engine, place.registry.name, 3, champion_version=2, stage=stage, reason="retrain for harm",
        job_id=job.id, facts=RunFacts(), words="begun",
    )  # fmt: skip


GOES_ON = "Its training was done, and the rollout of classifier:3 goes on without it ({}): `kedge rollout stop` ends it"
BACK = "`kedge rollback` returns to the champion before."


@pytest.mark.parametrize(
    ("stage", "words"),
    [
        ("shadow", GOES_ON.format("shadow") + "."),
        ("promoting", f"{GOES_ON.format('promoting')}, and once it is champion {BACK}"),
        ("probation", f"Its training was done, and classifier:3 is champion: {BACK}"),
    ],
)
def test_of_a_job_that_sends_out_what_it_made_it_is_said_what_goes_on_and_what_ends_that(place, stage, words):
    running = claim_job(place.engine, queue_job(place.engine, "retrain", "harm").id)
    sent_out(place, running, stage)

    with pytest.raises(UserError) as too_late:
        cancel_job(place, running, "ada", within_s=0.1)
    assert str(too_late.value) == (
        f"Job {running.id} was asked to stop too late: it is sending out what it made. {words}"
    )

    finish_job(place.engine, running.id, "done", claim=running.claim)
    assert cancel_job(place, running, "ada") == f"Job {running.id} was over before it could be stopped: done. {words}"
    with pytest.raises(UserError, match=r"There is nothing to cancel\. Its training was done"):
        cancel_job(place, find_job(place.engine, running.id), "ada")


def test_a_job_that_waits_to_be_gone_on_with_after_its_rollout_began_is_cancelled_and_the_rollout_is_not(place):
    job = claim_job(place.engine, queue_job(place.engine, "retrain", "harm").id)
    run = sent_out(place, job, "canary")
    hand_back(place.engine, job, "its runner was stopped")

    words = cancel_job(place, find_job(place.engine, job.id), "ada")

    assert words == f"Job {job.id} is cancelled after 0.0 s. {GOES_ON.format('canary')}."
    assert rollout_runs.run_of(place.engine, place.registry.name, run.sequence).is_open


@pytest.mark.parametrize(
    ("before", "back"),
    [(0, "no other was champion before, and `kedge promote N` chooses another."), (1, BACK)],
)
def test_of_a_job_whose_version_is_champion_without_a_rollout_it_is_said_what_ends_that(place, before, back):
    write_candidate(place.settings.root / "made")
    for number in range(before):
        place.registry.register(place.settings.root / "made", reason="first", parent_version=None)
        place.registry.champions.promote(number + 1, actor="ada", reason="test")
    job = claim_job(place.engine, queue_job(place.engine, "train", "first").id)
    made = place.registry.register(place.settings.root / "made", reason="first", parent_version=None, job_id=job.id)
    place.registry.champions.promote(made.version, actor="kedge train", reason="first model")
    finish_job(place.engine, job.id, "done", claim=job.claim)

    with pytest.raises(UserError) as over:
        cancel_job(place, find_job(place.engine, job.id), "ada")

    assert str(over.value).endswith(f"{made.title}, which it had registered, is champion: {back}")


@pytest.mark.usefixtures("ctrl_c_is_heard")
@pytest.mark.parametrize("up", [True, False])
def test_who_presses_ctrl_c_hears_whether_the_job_goes_on_by_itself_and_what_ends_it(place, kedge, monkeypatch, up):
    write_candidate(place.settings.root / "made")
    place.registry.register(place.settings.root / "made", reason="first", parent_version=None)
    place.registry.champions.promote(1, actor="test", reason="test")
    if up:
        beat(place.engine, "runner")

    def press(*_args, **_more):
        os.kill(os.getpid(), signal.SIGINT)

    monkeypatch.setattr(retraining, "note_run_dir", press)

    code, _, err = kedge("retrain")

    (job,) = open_jobs(place.engine)
    ends = f"`kedge jobs cancel {job.id}` ends it."
    said = f"`kedge up` is running, and goes on with job {job.id} by itself with one of its next looks: {ends}"
    if not up:
        on = "the same command goes on with it, and so does `kedge up` once that runs"
        said = f"Nothing is half-done. Job {job.id} waits: {on}; {ends}"
    assert (code, job.state) == (130, "queued")
    assert err.endswith(f"Stopped. {said}\n")
