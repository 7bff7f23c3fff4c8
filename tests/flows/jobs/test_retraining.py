"""One real retrain, killed wherever it hurts: whatever dies when, a job makes one version and promotes it once."""

import os
import signal
import time

import psutil
import pytest

from flows.retraining import run_job
from infra.errors import UserError
from infra.jobs import claim_job, find_job, jobs, queue_job
from models import rollout_runs
from tests.flows.jobs.small_projects import epochs_told, kedge, little, make_project, place_of, trained_again, worker

pytestmark = pytest.mark.slow
PATIENCE_S = 300


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = make_project(tmp_path_factory.mktemp("project") / "cards", images=100, epochs=20)
    kedge(folder, "train")
    return folder


def trainer_of(process):
    """The training process below a worker, once its first epoch is told."""
    for child in psutil.Process(process.pid).children(recursive=True):
        if "models.training" in " ".join(child.cmdline()):
            return child
    return None


def until(true):
    deadline = time.monotonic() + PATIENCE_S
    while not (found := true()):
        assert time.monotonic() < deadline
        time.sleep(0.05)
    return found


def test_a_job_that_dies_at_every_turn_registers_one_version_and_promotes_it_once(project):
    place = place_of(project)
    job = queue_job(place.engine, "retrain", "manual")

    first = worker(project, job.id, "models.registry:Registry.register")
    first.communicate(timeout=PATIENCE_S)
    second = worker(project, job.id, "models.rollout_runs:begin")
    second.communicate(timeout=PATIENCE_S)
    third = worker(project, job.id, "models.champions:Champions.promote_over")
    third.communicate(timeout=PATIENCE_S)
    fourth = worker(project, job.id)
    told, complaint = fourth.communicate(timeout=PATIENCE_S)

    assert [first.returncode, second.returncode, third.returncode] == [-signal.SIGKILL] * 3
    assert fourth.returncode == 0, complaint
    done = find_job(place.engine, job.id)
    assert (done.state, done.outcome["version"], done.outcome["promoted"]) == ("done", 2, True), told
    assert done.attempts == 4
    assert [version.version for version in place.registry.versions()] == [1, 2]
    assert [move.version for move in place.registry.champions.history()] == [1, 2]
    assert len(rollout_runs.runs(place.engine, "classifier")) == 1
    ledger = [row.kind for row in place.ledger.rows("jobs") if row.facts["job"] == job.id]
    assert ledger == ["asked", "released", "released", "released", "done"]


def test_cancelling_frees_the_processor_within_ten_seconds_and_the_job_is_not_begun_again(project):
    place = place_of(project)
    job = queue_job(place.engine, "retrain", "manual")
    process = worker(project, job.id)
    until(lambda: epochs_told(project, job.id))
    family = [psutil.Process(process.pid), *psutil.Process(process.pid).children(recursive=True)]

    said = kedge(project, "jobs", "cancel", job.id[-8:])

    assert f"Job {job.id} is cancelled after" in said
    until(lambda: not any(alive(member) for member in family))
    process.communicate()
    assert find_job(place.engine, job.id).state == "cancelled"
    assert run_job(place.settings, job.id, "manual").state == "skipped"
    assert len(place.registry.versions()) == 2


def test_a_killed_trainer_goes_on_by_itself_and_a_stopped_worker_leaves_its_job_to_the_next(project):
    place = place_of(project)
    job = queue_job(place.engine, "retrain", "manual")
    first = worker(project, job.id)
    until(lambda: len(epochs_told(project, job.id)) >= 2)

    trainer_of(first).kill()
    at_its_death = len(epochs_told(project, job.id))
    until(lambda: len(epochs_told(project, job.id)) >= at_its_death + 2)
    first.send_signal(signal.SIGINT)
    first.communicate(timeout=PATIENCE_S)
    waiting = find_job(place.engine, job.id)
    second = worker(project, job.id)
    second.communicate(timeout=PATIENCE_S)

    # The trainer's death counts as an attempt, the orderly stop as none.
    assert (waiting.state, waiting.attempts, waiting.error) == ("queued", 1, None)
    assert find_job(place.engine, job.id).state == "done"
    assert little(*trained_again(epochs_told(project, job.id)), deaths=2)
    assert [version.version for version in place.registry.versions()] == [1, 2, 3]
    ledger = [row.kind for row in place.ledger.rows("jobs") if row.facts["job"] == job.id]
    assert ledger == ["asked", "retried", "released", "done"]


def test_a_mistake_of_the_data_is_not_tried_again(project, monkeypatch):
    place = place_of(project)
    manifest = (project / "manifest.csv").read_text()
    (project / "manifest.csv").write_text("image,label\n")
    job = queue_job(place.engine, "retrain", "manual")

    outcome = run_job(place.settings, job.id, "manual")

    (project / "manifest.csv").write_text(manifest)
    assert outcome.state == "failed"
    closed = jobs(place.engine)[0]
    assert (closed.id, closed.state, closed.attempts) == (job.id, "failed", 1)
    assert claim_job(place.engine, job.id) is None


def alive(process):
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_without_a_champion_a_job_fails_and_says_what_to_do(tmp_path):
    place = place_of(make_project(tmp_path / "cards"))
    job = queue_job(place.engine, "retrain", "manual")

    outcome = run_job(place.settings, job.id, "manual")

    assert (outcome.state, outcome.words) == (
        "failed",
        "There is no champion to retrain from. `kedge train` makes the first model.",
    )
    with pytest.raises(UserError, match=f"There is no job '{os.getpid()}x'"):
        find_job(place.engine, f"{os.getpid()}x")
