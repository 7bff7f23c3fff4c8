"""Signs of life, and who must let go: a claimant whose job was taken over, or that cannot know whether it was."""

import time

import pytest

from infra import job_keeping
from infra.database import open_database, writing
from infra.job_keeping import LOST, Stopped, keeping
from infra.jobs import claim_job, find_job, finish_job, queue_job

# Not `engine` of this folder: a file that can be taken away is what these are about.
PATIENCE_S = 60


@pytest.fixture
def house(tmp_path):
    return tmp_path / "house"


@pytest.fixture
def engine(house):
    engine = open_database(f"sqlite:///{house / 'kedge.db'}")
    yield engine
    engine.dispose()


@pytest.fixture
def job(engine):
    return claim_job(engine, queue_job(engine, "retrain", "harm").id)


def work():
    """Longer than any test waits; only an exception ends it."""
    until = time.monotonic() + PATIENCE_S
    while time.monotonic() < until:
        sum(range(1000))
    pytest.fail("nobody stopped the work")


def stopped_by(engine, job, deed):
    """What the work is stopped with after the deed."""

    def kept():
        with keeping(engine, job):
            deed()
            work()

    with pytest.raises(Stopped) as stopped:
        kept()
    return stopped.value


def test_a_job_that_is_worked_on_gives_signs_of_life(engine, job, monkeypatch):
    monkeypatch.setattr(job_keeping, "_LOOK_EVERY_S", 0.05)
    monkeypatch.setattr(job_keeping, "_BEAT_EVERY_S", 0.1)

    with keeping(engine, job):
        until = time.monotonic() + PATIENCE_S
        while find_job(engine, job.id).beat_at == job.beat_at and time.monotonic() < until:
            time.sleep(0.02)

    assert find_job(engine, job.id).beat_at > job.beat_at


def test_the_work_on_a_job_that_was_closed_elsewhere_is_left(engine, job):
    stopped = stopped_by(engine, job, lambda: finish_job(engine, job.id, "failed", error="closed by a person"))

    assert (stopped.why, str(stopped)) == (LOST, "another process has the job now, or it was closed meanwhile")


def test_who_cannot_reach_the_database_for_long_lets_go_for_another_machine_may_have_the_job(
    engine, job, house, monkeypatch, caplog
):
    monkeypatch.setattr(job_keeping, "_LOOK_EVERY_S", 0.1)
    monkeypatch.setattr(job_keeping, "FENCED_S", 0.5)

    def take_away():
        house.rename(house.with_name("away"))
        engine.dispose()

    stopped = stopped_by(engine, job, take_away)

    assert (stopped.why, "another machine may have the job" in str(stopped)) == (LOST, True)
    assert "could not be seen" in caplog.text
    house.with_name("away").rename(house)
    assert find_job(engine, job.id).state == "running"


def test_a_database_that_is_away_for_a_moment_stops_nothing(engine, job, house, monkeypatch):
    monkeypatch.setattr(job_keeping, "_LOOK_EVERY_S", 0.05)

    with keeping(engine, job):
        house.rename(house.with_name("away"))
        engine.dispose()
        time.sleep(0.5)
        house.with_name("away").rename(house)
        with writing(engine):
            time.sleep(0.2)

    assert find_job(engine, job.id).state == "running"


def test_the_same_wish_reaches_the_work_once_and_its_farewell_is_not_disturbed(engine, job, monkeypatch):
    monkeypatch.setattr(job_keeping, "_LOOK_EVERY_S", 0.02)
    told = []

    def close_and_say_farewell():
        finish_job(engine, job.id, "cancelled")
        try:
            work()
        finally:
            time.sleep(0.5)
            told.append("farewell")

    stopped_by(engine, job, close_and_say_farewell)

    assert told == ["farewell"]
