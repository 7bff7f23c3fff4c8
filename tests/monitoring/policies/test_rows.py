"""What a decision reads from the rows of jobs."""

from datetime import timedelta

import pytest
import sqlalchemy as sa

from infra import schema
from infra.clock import now
from infra.database import open_database, writing
from infra.job_claims import ask_cancel, hand_back
from infra.jobs import claim_job, finish_job, queue_job
from monitoring.policies.rows import jobs_within


@pytest.fixture
def engine():
    engine = open_database("sqlite://")
    yield engine
    engine.dispose()


def so_far(engine):
    with engine.connect() as connection:
        return jobs_within(connection, "cards", now())


def begun(engine, job, minutes):
    """Claim the job, as if that had been so many minutes ago."""
    claimed = claim_job(engine, job.id)
    with writing(engine) as connection:
        since = now() - timedelta(minutes=minutes)
        connection.execute(sa.update(schema.jobs).where(schema.jobs.c.id == job.id).values(started_at=since))
    return claimed


def test_a_job_costs_the_minutes_of_all_its_attempts(engine):
    job = queue_job(engine, "retrain", "harm")
    hand_back(engine, begun(engine, job, 20), "its runner was stopped")
    last = begun(engine, job, 5)
    finish_job(engine, job.id, "done", claim=last.claim)

    found = so_far(engine)

    assert [minutes for _, minutes in found.trained] == pytest.approx([25.0], abs=0.2)
    assert (found.usual_minutes, found.usual_of) == (pytest.approx(25.0, abs=0.2), 1)


def test_what_is_cancelled_while_it_waits_to_be_gone_on_with_has_cost_its_minutes_and_what_never_began_none(
    engine,
):
    job = queue_job(engine, "retrain", "harm")
    hand_back(engine, begun(engine, job, 20), "its runner was stopped")
    ask_cancel(engine, job, "ada")
    ask_cancel(engine, queue_job(engine, "retrain", "harm"), "ada")

    found = so_far(engine)

    assert [minutes for _, minutes in found.trained] == pytest.approx([20.0], abs=0.2)
    assert found.asked == (job.created_at,)
