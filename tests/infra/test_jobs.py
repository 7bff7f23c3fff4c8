import os
import socket
import subprocess
import sys

import pytest
import sqlalchemy as sa

from infra import schema
from infra.database import writing
from infra.jobs import claim_job, finish_job, jobs, note_run_dir, open_jobs, queue_job, release_abandoned
from infra.ledger import Ledger

CLAIM = """
import sys
from infra.database import open_database
from infra.jobs import claim_job
job = claim_job(open_database(sys.argv[1]), sys.argv[2])
print("mine" if job else "taken")
"""

# Claims, says so, and stays until it is killed.
CLAIM_AND_STAY = (
    CLAIM
    + """
sys.stdout.flush()
import time
time.sleep(600)
"""
)


@pytest.fixture
def runner(database_url):
    """Starts another process that claims a job."""
    started = []

    def start(job):
        command = [sys.executable, "-P", "-c", CLAIM_AND_STAY, database_url, job.id]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        started.append(process)
        assert process.stdout.readline() == "mine\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def claimed_by(engine, job, **facts):
    """As if the job had been claimed by the process so described."""
    with writing(engine) as connection:
        here = {"host": socket.gethostname(), "pid": os.getpid(), **facts}
        connection.execute(
            schema.jobs.update()
            .where(schema.jobs.c.id == job.id)
            .values(state="running", evidence={"claimed_by": here})
        )


def test_a_job_goes_from_queued_to_done(engine):
    queued = queue_job(engine, "retrain", "harm", {"lane": "gross"})
    running = claim_job(engine, queued.id)
    note_run_dir(engine, queued.id, "/runs/1")
    finish_job(engine, queued.id, "done", outcome={"version": 2, "promoted": True})

    done = jobs(engine)[0]

    assert (queued.state, queued.kind, queued.reason, queued.started_at) == ("queued", "retrain", "harm", None)
    assert (running.state, running.evidence["lane"]) == ("running", "gross")
    assert (done.state, done.run_dir, done.outcome, done.error) == (
        "done",
        "/runs/1",
        {"version": 2, "promoted": True},
        None,
    )
    assert done.created_at <= done.started_at <= done.finished_at
    assert open_jobs(engine) == ()


def test_while_a_job_is_open_asking_again_gives_that_one(engine):
    first = queue_job(engine, "retrain", "harm")
    again = queue_job(engine, "retrain", "schedule")
    claim_job(engine, first.id)
    while_it_runs = queue_job(engine, "train", "manual")

    assert again == first
    assert while_it_runs.id == first.id
    assert len(jobs(engine)) == 1


@pytest.mark.parametrize("end", ["done", "failed", "refused", "cancelled"])
def test_once_a_job_is_over_the_next_one_may_be_asked_for(engine, end):
    first = queue_job(engine, "retrain", "harm")
    claim_job(engine, first.id)
    finish_job(engine, first.id, end, error="the disk was full" if end == "failed" else None)

    second = queue_job(engine, "retrain", "schedule")

    assert second.id != first.id
    assert [job.id for job in jobs(engine)] == [second.id, first.id]
    assert claim_job(engine, first.id) is None


def test_a_job_that_was_never_asked_for_cannot_be_claimed(engine):
    assert claim_job(engine, "no such job") is None


@pytest.mark.slow
def test_of_many_processes_exactly_one_gets_the_job(engine, database_url, at_once):
    job = queue_job(engine, "retrain", "harm")

    answers = at_once(CLAIM, *[[database_url, job.id]] * 4)

    assert sorted(answers) == ["mine", "taken", "taken", "taken"]


@pytest.mark.slow
def test_the_job_of_a_killed_process_is_queued_again_and_that_of_a_living_one_is_not(engine, runner):
    job = queue_job(engine, "retrain", "harm", {"lane": "gross"})
    process = runner(job)

    while_alive = release_abandoned(engine)
    process.kill()
    process.wait()
    after_its_death = release_abandoned(engine)

    assert while_alive == ()
    assert [each.id for each in after_its_death] == [job.id]
    released = open_jobs(engine)[0]
    assert (released.state, released.started_at, released.evidence["lane"]) == ("queued", None, "gross")
    assert claim_job(engine, job.id) is not None


def test_a_job_is_not_kept_by_a_stranger_with_the_same_process_number(engine):
    # A restarted container counts its processes from 1 again.
    job = queue_job(engine, "retrain", "harm")
    claimed_by(engine, job, born=1_000_000_000.0)

    assert [each.id for each in release_abandoned(engine)] == [job.id]


def test_the_job_of_another_machine_is_left_alone(engine):
    job = queue_job(engine, "retrain", "harm")
    claimed_by(engine, job, host="another-machine", pid=1, born=1.0)

    assert release_abandoned(engine) == ()
    assert open_jobs(engine)[0].state == "running"


def test_nothing_is_released_when_nothing_runs(engine):
    queue_job(engine, "retrain", "harm")

    assert release_abandoned(engine) == ()
    with engine.connect() as connection:
        assert connection.execute(sa.select(schema.jobs.c.state)).scalars().all() == ["queued"]


def test_the_ledger_knows_what_was_asked_for_and_how_it_ended(engine):
    abandoned = queue_job(engine, "train", "first")
    job = queue_job(engine, "retrain", "manual")
    queue_job(engine, "retrain", "schedule")
    claim_job(engine, job.id)
    finish_job(engine, job.id, "failed", error="the disk is full")

    rows = Ledger(engine).rows("jobs")

    assert [(row.kind, row.facts["job"]) for row in rows] == [
        ("asked", abandoned.id), ("cancelled", abandoned.id), ("asked", job.id), ("failed", job.id),
    ]  # fmt: skip
    assert rows[-1].facts["error"] == "the disk is full"
    assert Ledger(engine).verify("jobs") is None
