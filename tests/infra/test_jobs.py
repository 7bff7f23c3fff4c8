import os
import socket
import subprocess
import sys
from datetime import timedelta

import pytest
import sqlalchemy as sa

from infra import schema
from infra.clock import now
from infra.database import writing
from infra.errors import UserError
from infra.job_claims import (
    MOST_ATTEMPTS,
    SILENT_S,
    ask_cancel,
    beat,
    begin_again,
    hand_back,
    release_abandoned,
    standing,
)
from infra.jobs import (
    claim_job,
    find_job,
    finish_job,
    jobs,
    minutes_before,
    minutes_taken,
    note_run_dir,
    open_jobs,
    queue_job,
)
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


def claimed_by(engine, job, beat_at=None, **facts):
    """As if the job had been claimed by the process so described."""
    with writing(engine) as connection:
        here = {"host": socket.gethostname(), "pid": os.getpid(), **facts}
        connection.execute(
            schema.jobs.update()
            .where(schema.jobs.c.id == job.id)
            .values(state="running", beat_at=beat_at, evidence={"claimed_by": here})
        )


def as_if_dead(engine, job):
    """As if the machine that claimed the job had fallen silent long ago."""
    claimed_by(engine, job, host="another-machine", pid=1, born=1.0, beat_at=now() - timedelta(seconds=SILENT_S + 1))


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


@pytest.mark.parametrize("end", ["done", "failed", "refused", "declined", "cancelled"])
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


def test_the_job_of_another_machine_is_released_once_it_has_given_no_sign_of_life_for_long(engine):
    job = queue_job(engine, "retrain", "harm")
    claimed_by(engine, job, host="another-machine", pid=1, born=1.0, beat_at=now() - timedelta(seconds=SILENT_S - 60))
    while_it_beats = release_abandoned(engine)
    as_if_dead(engine, job)

    after_it_fell_silent = release_abandoned(engine)

    assert while_it_beats == ()
    assert [each.id for each in after_it_fell_silent] == [job.id]
    row = Ledger(engine).rows("jobs")[-1]
    assert row.kind == "released"
    assert row.facts["why"].startswith("another-machine has given no sign of life for 18")


def test_who_lost_its_claim_changes_nothing_any_more(engine):
    lost = claim_job(engine, queue_job(engine, "retrain", "harm").id)
    as_if_dead(engine, lost)
    release_abandoned(engine)
    mine = claim_job(engine, lost.id)

    late = (
        beat(engine, lost),
        note_run_dir(engine, lost.id, "/late", claim=lost.claim),
        finish_job(engine, lost.id, "done", claim=lost.claim, outcome={"version": 9}),
        hand_back(engine, lost, "late"),
        begin_again(engine, lost, "late"),
        standing(engine, lost),
    )

    assert late == (False, False, False, False, None, None)
    assert standing(engine, mine) == mine
    assert (mine.attempts, mine.claim != lost.claim) == (2, True)
    assert finish_job(engine, mine.id, "done", claim=mine.claim)
    assert [row.kind for row in Ledger(engine).rows("jobs")] == ["asked", "released", "done"]


def test_a_job_is_closed_once(engine):
    job = claim_job(engine, queue_job(engine, "retrain", "harm").id)

    first = finish_job(engine, job.id, "refused", claim=job.claim)
    again = finish_job(engine, job.id, "failed", claim=job.claim, error="too late")

    assert (first, again, jobs(engine)[0].state) == (True, False, "refused")


def test_a_sign_of_life_is_seen(engine):
    job = claim_job(engine, queue_job(engine, "retrain", "harm").id)

    assert beat(engine, job)

    assert standing(engine, job).beat_at > job.beat_at


def test_a_job_whose_processes_keep_dying_is_given_up_and_says_so(engine):
    job = queue_job(engine, "retrain", "harm")
    for _ in range(MOST_ATTEMPTS):
        claim_job(engine, job.id)
        as_if_dead(engine, job)
        released = release_abandoned(engine)

    given_up = jobs(engine)[0]
    assert released == (given_up,)
    assert release_abandoned(engine) == (), "whoever closed it has seen it, and nobody else does"
    assert (given_up.state, given_up.attempts) == ("failed", 4)
    assert given_up.error.startswith("given up after 4 attempts, the last of which ended so: another-machine has given")


def test_a_job_handed_back_in_good_order_waits_again_and_no_attempt_is_counted(engine):
    job = claim_job(engine, queue_job(engine, "retrain", "harm").id)

    assert hand_back(engine, job, "its runner was stopped")

    waiting = jobs(engine)[0]
    assert (waiting.state, waiting.attempts, waiting.claim) == ("queued", 0, None)
    assert claim_job(engine, job.id).attempts == 1


def worked(engine, job, minutes, evidence=None):
    """As if the job had been claimed so many minutes before its last sign of life, an hour ago."""
    heard = now() - timedelta(hours=1)
    with writing(engine) as connection:
        times = {"started_at": heard - timedelta(minutes=minutes), "beat_at": heard}
        facts = times if evidence is None else {**times, "evidence": evidence}
        connection.execute(schema.jobs.update().where(schema.jobs.c.id == job.id).values(**facts))


def test_the_minutes_of_every_attempt_before_are_remembered_up_to_its_last_sign_of_life(engine):
    job = queue_job(engine, "retrain", "harm", {"lane": "gross"})
    for minutes in (12, 30):
        claimed = claim_job(engine, job.id)
        elsewhere = {**claimed.evidence, "claimed_by": {"host": "another-machine", "pid": 1, "born": 1.0}}
        worked(engine, claimed, minutes, elsewhere)
        release_abandoned(engine)

    (waiting,) = open_jobs(engine)
    again = claim_job(engine, job.id)

    assert (waiting.state, waiting.started_at, waiting.evidence["lane"]) == ("queued", None, "gross")
    assert minutes_before(again.evidence) == pytest.approx(42.0)


@pytest.mark.parametrize(
    ("facts", "state"), [({"attempts": MOST_ATTEMPTS}, "failed"), ({"cancel_asked_at": now()}, "cancelled")]
)
def test_a_job_that_is_closed_for_the_dead_took_no_minute_after_its_last_sign_of_life(engine, facts, state):
    claimed = claim_job(engine, queue_job(engine, "retrain", "harm").id)
    elsewhere = {**claimed.evidence, "claimed_by": {"host": "another-machine", "pid": 1, "born": 1.0}}
    worked(engine, claimed, 30, {**elsewhere, "minutes_before": 12.0})
    with writing(engine) as connection:
        connection.execute(schema.jobs.update().where(schema.jobs.c.id == claimed.id).values(**facts))

    (over,) = release_abandoned(engine)

    assert (over.state, over.started_at) == (state, None)
    assert minutes_taken(over.started_at, over.finished_at, over.evidence) == pytest.approx(42.0)


def test_what_nobody_has_begun_took_no_minutes_and_is_told_from_what_was_over_at_once(engine):
    waiting = queue_job(engine, "retrain", "harm")

    assert minutes_taken(waiting.started_at, now(), waiting.evidence) is None
    assert minutes_taken(waiting.created_at, waiting.created_at, waiting.evidence) == 0.0


def test_the_minutes_before_an_orderly_stop_are_remembered_too(engine):
    job = claim_job(engine, queue_job(engine, "retrain", "harm").id)
    worked(engine, job, 12)

    hand_back(engine, job, "its runner was stopped")

    # The hour since the last sign of life was worked, too: its claimant is there to say so.
    assert minutes_before(open_jobs(engine)[0].evidence) == pytest.approx(72.0, abs=1.0)


def test_an_attempt_after_a_fault_is_counted_with_its_reason(engine):
    job = claim_job(engine, queue_job(engine, "retrain", "harm").id)

    again = begin_again(engine, job, "the trainer was killed by SIGKILL")

    assert (again.attempts, again.claim, again.state) == (2, job.claim, "running")
    row = Ledger(engine).rows("jobs")[-1]
    assert (row.kind, row.facts) == (
        "retried", {"job": job.id, "attempt": 2, "why": "the trainer was killed by SIGKILL"},
    )  # fmt: skip


def test_cancelling_closes_a_waiting_job_at_once_and_leaves_a_running_one_to_who_runs_it(engine):
    waiting = ask_cancel(engine, queue_job(engine, "retrain", "harm"), "ada")
    running = claim_job(engine, queue_job(engine, "retrain", "harm").id)
    asked = ask_cancel(engine, running, "ada")
    ask_cancel(engine, running, "ada")

    assert (waiting.state, waiting.error) == ("cancelled", "cancelled by ada")
    assert (asked.state, asked.cancel_asked_at is not None) == ("running", True)
    assert hand_back(engine, running, "stopped")
    assert jobs(engine)[0].state == "cancelled"
    assert [row.kind for row in Ledger(engine).rows("jobs")] == [
        "asked", "cancelled", "asked", "cancel_asked", "cancelled",
    ]  # fmt: skip


def test_a_cancelled_job_whose_process_died_is_closed_and_not_begun_again(engine):
    job = claim_job(engine, queue_job(engine, "retrain", "harm").id)
    ask_cancel(engine, job, "ada")
    as_if_dead(engine, job)

    assert [each.state for each in release_abandoned(engine)] == ["cancelled"]
    assert jobs(engine)[0].state == "cancelled"


def test_a_job_that_is_over_is_cancelled_no_more(engine):
    job = claim_job(engine, queue_job(engine, "retrain", "harm").id)
    finish_job(engine, job.id, "done", claim=job.claim)

    assert ask_cancel(engine, job, "ada").state == "done"


def test_a_job_is_found_by_the_end_of_its_id(engine):
    one = queue_job(engine, "retrain", "harm")
    finish_job(engine, one.id, "cancelled")
    other = queue_job(engine, "retrain", "harm")

    assert find_job(engine, one.id[-6:]).id == one.id
    assert find_job(engine, other.id).id == other.id
    with pytest.raises(UserError, match="Several jobs have an id like '0'"):
        find_job(engine, "0")
    with pytest.raises(UserError, match="There is no job 'nosuch%'; `kedge jobs` lists them"):
        find_job(engine, "nosuch%")


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


def test_judging_once_more_does_not_wait_for_a_training_that_a_person_broke_off(engine):
    train = queue_job(engine, "train", "first")

    judging = queue_job(engine, "judge", "second reading", {"version": 2})

    assert [(one.id, one.kind) for one in open_jobs(engine)] == [(train.id, "train"), (judging.id, "judge")]
    assert queue_job(engine, "judge", "second reading", {"version": 2}).id == judging.id
