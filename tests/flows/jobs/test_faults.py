"""What is tried again, and what is not."""

import errno
import logging
import sqlite3

import pytest
import sqlalchemy as sa
from botocore.exceptions import ClientError, EndpointConnectionError, NoCredentialsError
from PIL import UnidentifiedImageError

from flows.jobs import attempts
from flows.jobs.attempts import attempted
from flows.jobs.faults import infrastructure_fault, pause_s
from flows.launcher import Killed
from flows.telling import Logged
from flows.workplace import open_workplace
from infra.errors import UserError
from infra.job_claims import ask_cancel
from infra.job_keeping import Stopped
from infra.jobs import claim_job, find_job, finish_job, queue_job


@pytest.fixture
def place(tmp_path):
    return open_workplace(tmp_path)


@pytest.fixture
def job(place):
    return claim_job(place.engine, queue_job(place.engine, "retrain", "manual").id)


@pytest.fixture
def at_once(monkeypatch):
    """Without the pauses between attempts; gives those that were meant."""
    meant = []
    monkeypatch.setattr(attempts.time, "sleep", meant.append)
    return meant


def teller():
    return Logged(logging.getLogger("test"))


def refused(status, code):
    return ClientError({"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}, "GetObject")


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (Killed("models.training was killed by SIGKILL in /runs/1. Its checkpoint is kept"), "models.training was kil"),
        (sa.exc.OperationalError("select 1", {}, sqlite3.OperationalError("disk I/O error")), "the database is away: "),
        (EndpointConnectionError(endpoint_url="http://store"), "the object store is away: Could not connect"),
        (refused(503, "SlowDown"), "the object store is away: An error occurred (SlowDown)"),
        (ConnectionResetError("reset by peer"), "a disk, a network or the object store is away: reset by peer"),
        (OSError(errno.ESTALE, "stale file handle"), "a disk, a network or the object store is away: "),
        (OSError("Generic S3 error: no answer"), "a disk, a network or the object store is away: Generic S3 error"),
    ],
)
def test_a_fault_of_the_machines_is_tried_again_and_named(error, words):
    assert infrastructure_fault(error).startswith(words)


@pytest.mark.parametrize(
    "error",
    [
        UserError("The manifest has no column 'label'."),
        ValueError("shapes (3,) and (4,) do not fit"),
        MemoryError(),
        refused(403, "AccessDenied"),
        NoCredentialsError(),
        OSError(errno.ENOSPC, "no space left on device"),
        FileNotFoundError(errno.ENOENT, "no such file", "7.png"),
        UnidentifiedImageError("cannot identify image file"),
    ],
)
def test_a_mistake_of_a_person_or_of_the_code_is_not(error):
    assert infrastructure_fault(error) == ""


def test_pauses_grow_and_stay_at_the_longest():
    assert [pause_s(attempt) for attempt in (1, 2, 3, 4)] == [5.0, 20.0, 60.0, 60.0]


def test_after_three_faults_in_a_row_the_job_is_given_up_with_the_last_reason(place, job, at_once):
    tried = []

    def once(keeper):
        tried.append(len(tried))
        raise Killed("models.training was killed by SIGKILL in /runs/1. Its checkpoint is kept")

    with pytest.raises(UserError, match=r"Given up after 4 attempts, the last of which ended so: models\.training was"):
        attempted(place.engine, job, teller(), once)

    assert (len(tried), at_once) == (4, [5.0, 20.0, 60.0])
    closed = find_job(place.engine, job.id)
    assert (closed.state, closed.attempts) == ("failed", 4)
    assert [row.kind for row in place.ledger.rows("jobs")] == ["asked", "retried", "retried", "retried", "failed"]


def test_a_fault_that_passes_costs_one_attempt(place, job, at_once):
    tried = []

    def once(keeper):
        tried.append(len(tried))
        if len(tried) == 1:
            raise ConnectionResetError("the store went away")
        finish_job(place.engine, job.id, "done", claim=job.claim)
        return "made"

    assert attempted(place.engine, job, teller(), once) == "made"
    assert find_job(place.engine, job.id).state == "done"


def test_the_codes_own_mistake_closes_the_job_at_once(place, job):
    def once(keeper):
        raise ValueError("shapes do not fit")

    with pytest.raises(ValueError, match="shapes do not fit"):
        attempted(place.engine, job, teller(), once)

    closed = find_job(place.engine, job.id)
    assert (closed.state, closed.error, closed.attempts) == ("failed", "shapes do not fit", 1)


def test_a_wish_to_cancel_leaves_even_a_long_computation(place, job):
    def once(keeper):
        ask_cancel(place.engine, job, "ada")
        return sum(number * number for number in range(10**12))

    with pytest.raises(Stopped) as stopped:
        attempted(place.engine, job, teller(), once)

    assert stopped.value.why == "cancelled"
    assert find_job(place.engine, job.id).state == "cancelled"


def test_what_is_done_whole_is_not_cancelled_any_more_once_it_has_begun(place, job):
    def once(keeper):
        with keeper.undisturbed():
            ask_cancel(place.engine, job, "ada")
            sum(number * number for number in range(3 * 10**7))
            finish_job(place.engine, job.id, "done", claim=job.claim)
        return "made"

    assert attempted(place.engine, job, teller(), once) == "made"
    assert find_job(place.engine, job.id).state == "done"


def test_who_has_lost_the_job_does_not_begin_what_has_to_be_done_once(place, job):
    def once(keeper):
        finish_job(place.engine, job.id, "cancelled")
        with keeper.undisturbed():
            return "promoted"

    with pytest.raises(Stopped) as stopped:
        attempted(place.engine, job, teller(), once)

    assert stopped.value.why == "lost"
    assert find_job(place.engine, job.id).state == "cancelled"


def test_who_is_stopped_from_outside_leaves_the_job_to_the_next(place, job):
    def once(keeper):
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        attempted(place.engine, job, teller(), once)

    assert find_job(place.engine, job.id).state == "queued"
