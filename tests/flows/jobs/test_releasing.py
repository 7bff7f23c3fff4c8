"""A job that is given up because its processes keep dying: people hear of it, once."""

import os

import pytest

from flows.jobs.again import call_for_all, call_for_the_dead
from flows.jobs.releasing import release_dead
from infra import schema
from infra.database import open_database, writing
from infra.job_claims import MOST_ATTEMPTS
from infra.jobs import claim_job, find_job, queue_job
from infra.settings import load
from tests.flows.jobs.listening import listening


@pytest.fixture
def posted():
    """What reached the web hook, and where that is."""
    with listening() as (found, address):
        yield found, address


@pytest.fixture
def settings(tmp_path, posted):
    # Nobody hears the calls for the runner here.
    return load(tmp_path, {"KEDGE_NOTIFY__WEBHOOK": posted[1], "KEDGE_PREFECT__API_URL": posted[1] + "away"})


@pytest.fixture
def engine(settings):
    engine = open_database(settings.storage.database)
    yield engine
    engine.dispose()


def die(engine, job):
    """As if the process that has just claimed the job were gone: nobody here was born in 2001."""
    claimed = claim_job(engine, job.id)
    gone = {"host": os.uname().nodename, "pid": os.getpid(), "born": 1_000_000_000.0}
    with writing(engine) as connection:
        mine = schema.jobs.update().where(schema.jobs.c.id == job.id)
        connection.execute(mine.values(evidence={**(claimed.evidence or {}), "claimed_by": gone}))


def told(posted):
    return [one for one in posted[0] if isinstance(one, dict) and "kind" in one]


@pytest.mark.parametrize(
    ("kind", "reason", "begins"),
    [
        ("retrain", "harm", "Retraining for harm failed: given up after 4 attempts"),
        ("train", "first", "`kedge train` (first) failed: given up after 4 attempts"),
    ],
)
def test_people_hear_once_of_a_job_whose_processes_died_four_times(settings, engine, posted, kind, reason, begins):
    job = queue_job(engine, kind, reason)
    for _ in range(MOST_ATTEMPTS - 1):
        die(engine, job)
        assert [one.id for one in release_dead(settings, engine)] == [job.id]
    before = told(posted)
    die(engine, job)

    assert call_for_the_dead(settings) == ()
    assert (call_for_all(settings), release_dead(settings, engine)) == ((), ())

    (post,) = told(posted)
    assert before == []
    assert (post["kind"], post["facts"]) == ("retrain_failed", {"job": job.id})
    assert post["text"].startswith(begins)
    assert post["text"].endswith(f"`kedge {kind}` asks anew.")
    assert find_job(engine, job.id).state == "failed"
