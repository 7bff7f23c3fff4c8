"""A real Prefect server and the real runner: the schedule truly fires, and an event truly starts the retrain."""

import os
import signal
import subprocess
import sys
import time

import httpx
import pytest

from flows import prefect_environment, summons, up_file
from infra.database import open_database
from infra.jobs import jobs, queue_job
from infra.ledger import Ledger
from infra.settings import load

pytestmark = pytest.mark.slow
PATIENCE_S = 240
ANY = ("SCHEDULED", "PENDING", "RUNNING", "COMPLETED", "FAILED", "CRASHED", "CANCELLED", "CANCELLING")

CRON = '[trigger]\ncron = "* * * * *"\n[retention]\ncron = "* * * * *"\n'

UP = """
from flows import children
from flows.supervisor import up
from infra.settings import load
settings = load()
up(settings, (children.prefect_server(settings), children.runner(settings)))
"""


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    folder = tmp_path_factory.mktemp("project")
    (folder / "kedge.toml").write_text(f"[prefect]\nport = {free_port()}\n[monitor]\nevery_s = 6.0\n{CRON}")
    settings = load(folder, {})
    process = subprocess.Popen([sys.executable, "-c", UP], cwd=folder, stderr=subprocess.PIPE, text=True)
    try:
        until(lambda: process.poll() is not None or is_up(settings))
        assert process.poll() is None, process.stderr.read()
        yield settings
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE_S)


def free_port():
    import socket

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def until(true):
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.2)


def is_up(settings):
    state = up_file.running(settings.storage.home)
    return state is not None and state.state == "up"


def runs(settings, flow, *states):
    url = f"{prefect_environment.api_url(settings)}/flow_runs/filter"
    query = {"flows": {"name": {"any_": [flow]}}, "flow_runs": {"state": {"type": {"any_": list(states)}}}}
    return httpx.post(url, json=query, timeout=30).json()


def test_the_watch_runs_on_its_schedule_and_leaves_its_verdict(project):
    until(lambda: len(runs(project, "watch", "COMPLETED")) >= 2)

    first, second = sorted(runs(project, "watch", "COMPLETED"), key=lambda run: run["expected_start_time"])[:2]

    assert first["auto_scheduled"]
    assert second["auto_scheduled"]
    artifacts = httpx.post(f"{prefect_environment.api_url(project)}/artifacts/filter", json={}, timeout=30).json()
    assert "verdict" in {artifact["key"] for artifact in artifacts}


def test_an_event_starts_the_retrain_of_its_job_and_the_same_event_twice_starts_it_once(project):
    engine = open_database(project.storage.database)
    job = queue_job(engine, "retrain", "drift")

    assert [summons.call_for_retrain(project, job.id) for _ in range(3)] == [True, True, True]
    until(lambda: state_of(engine, job.id) not in ("queued", "running"))

    # There are neither a champion nor images: that the job says so is the proof that it was done.
    assert state_of(engine, job.id) == "failed"
    called = [run["parameters"] for run in runs(project, "retrain", *ANY) if run["parameters"].get("job_id")]
    assert called == [{"job_id": job.id}]
    engine.dispose()


def test_the_cron_line_of_retrains_is_left_to_the_watchers_look(project):
    url = f"{prefect_environment.api_url(project)}/deployments/filter"

    deployments = httpx.post(url, json={}, timeout=30).json()

    scheduled = {each["entrypoint"].rpartition(".")[2]: len(each["schedules"]) for each in deployments}
    assert scheduled == {"watch": 1, "tidy": 1, "retrain": 0}


def test_the_tables_are_tidied_by_the_clock_too(project):
    until(lambda: runs(project, "tidy", "COMPLETED"))

    engine = open_database(project.storage.database)
    assert Ledger(engine).rows("keeping")[0].kind == "tidied"
    engine.dispose()


def state_of(engine, job_id):
    return next(job.state for job in jobs(engine) if job.id == job_id)


def test_after_the_runner_was_killed_the_next_one_goes_on_and_catches_up_on_nothing(project):
    home = project.storage.home
    runner = next(child for child in up_file.running(home).children if child.name == "runner")
    before = {run["id"] for run in runs(project, "watch", "COMPLETED")}

    os.kill(runner.pid, signal.SIGKILL)
    until(lambda: {run["id"] for run in runs(project, "watch", "COMPLETED")} - before)

    again = next(child for child in up_file.running(home).children if child.name == "runner")
    assert (again.restarts, again.pid != runner.pid) == (1, True)
