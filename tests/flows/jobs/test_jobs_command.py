"""`kedge jobs`, `show` and `cancel` over real rows."""

import json

import pytest

from flows.jobs.cancel import cancel_job, cancel_of_run
from flows.workplace import open_workplace
from infra.errors import UserError
from infra.job_claims import begin_again
from infra.jobs import claim_job, find_job, finish_job, note_run_dir, queue_job


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
        cancel_job(place.engine, job, "ada", within_s=0.1)

    assert find_job(place.engine, job.id).cancel_asked_at is not None


def test_a_run_that_is_cancelled_in_prefect_takes_its_job_along(place):
    job = queue_job(place.engine, "retrain", "harm")

    cancel_of_run(place.settings, job.id)
    cancel_of_run(place.settings, job.id)
    cancel_of_run(place.settings, "")

    ended = find_job(place.engine, job.id)
    assert (ended.state, ended.error) == ("cancelled", "cancelled by Prefect")
