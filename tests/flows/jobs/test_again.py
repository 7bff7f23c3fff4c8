"""A retrain whose process died is called for at once, by an event of its own."""

import os

import pytest

from flows.jobs.again import call_for_all, call_for_the_dead
from infra import schema
from infra.database import open_database, writing
from infra.job_claims import hand_back
from infra.jobs import claim_job, open_jobs, queue_job
from infra.settings import load
from tests.flows.jobs.listening import listening


@pytest.fixture
def heard():
    """Events that reached Prefect's address, and that address."""
    with listening(list.extend) as (found, address):
        yield found, address + "api"


@pytest.fixture
def settings(tmp_path, heard):
    return load(tmp_path, {"KEDGE_PREFECT__API_URL": heard[1]})


@pytest.fixture
def engine(settings):
    engine = open_database(settings.storage.database)
    yield engine
    engine.dispose()


def die(engine, job):
    """As if the process that claimed the job were gone: nobody here was born in 2001."""
    gone = {"claimed_by": {"host": os.uname().nodename, "pid": os.getpid(), "born": 1_000_000_000.0}}
    with writing(engine) as connection:
        connection.execute(schema.jobs.update().where(schema.jobs.c.id == job.id).values(evidence=gone))


def test_each_death_is_an_event_of_its_own_so_that_it_is_not_taken_for_a_repetition(settings, engine, heard):
    job = queue_job(engine, "retrain", "harm")
    told = [call_for_all(settings)]
    for _ in range(2):
        die(engine, claim_job(engine, job.id))
        told.append(call_for_the_dead(settings))

    assert told == [(job.id,)] * 3
    events = [(event["resource"]["prefect.resource.id"], event["payload"]) for event in heard[0]]
    subject = f"kedge.classifier.job.{job.id}"
    assert events == [(f"{subject}{suffix}", {"job_id": job.id}) for suffix in ("", ".1", ".2")]


def test_nobody_is_called_for_a_job_that_runs_or_for_a_train(settings, engine, heard):
    claim_job(engine, queue_job(engine, "retrain", "harm").id)

    assert (call_for_all(settings), call_for_the_dead(settings)) == ((), ())
    assert [job.state for job in open_jobs(engine)] == ["running"]
    assert heard[0] == []


def test_what_was_stopped_in_good_order_is_called_for_by_the_next_runner_and_not_before(settings, engine, heard):
    job = claim_job(engine, queue_job(engine, "retrain", "harm").id)
    hand_back(engine, job, "its runner was stopped")

    assert call_for_the_dead(settings) == ()
    assert call_for_all(settings) == (job.id,)
    assert len(heard[0]) == 1
