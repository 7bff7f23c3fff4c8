"""The stage of the crash table: a small project under a real `kedge up`, whose processes can be found and killed."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import psutil

from flows import prefect_environment, up_file
from flows.summons import call_for_retrain
from flows.workplace import Workplace, open_workplace
from infra.jobs import Job, find_job, open_jobs, queue_job
from models import rollout_runs
from tests.flows.jobs.small_projects import environment, epochs_told, kedge, make_project

QUEUED, COLLECTING, TRAINING, JUDGING, ROLLING_OUT = PHASES = (
    "queued", "collecting", "training", "judging", "rolling out",
)  # fmt: skip
FLOW, RUNNER, SERVER, TRAINER, WATCHER, SERVICE = VICTIMS = (
    "flow", "runner", "Prefect server", "trainer", "watcher", "service",
)  # fmt: skip
_CHILD = {RUNNER: "runner", SERVER: "prefect", SERVICE: "service"}
PATIENCE_S = 600.0
_PORTS = """
[serve]
port = {0}
[prefect]
port = {1}
[console]
port = {2}
[monitor]
every_s = {every_s}
evidently_port = 0
silent_after_s = 3600
"""


class Stage:
    """A project with a champion that is served, watched and retrained."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.place: Workplace = open_workplace(folder)
        self.name = self.place.settings.project.name

    def ask(self, *, call: bool = True) -> Job:
        """Ask for a retrain as the watcher does: the row, then the event."""
        job = queue_job(self.place.engine, "retrain", "manual")
        if call:
            call_for_retrain(self.place.settings, job.id)
        return job

    def ask_in_quiet(self) -> Job:
        """The same once no other job is open: it would be taken for that one."""
        until(lambda: not open_jobs(self.place.engine), every_s=0.2)
        return self.ask()

    def now(self, job: Job) -> Job:
        return find_job(self.place.engine, job.id)

    def reached(self, job: Job, phase: str) -> bool:
        """Whether the job is in the phase, or beyond it."""
        run = self.place.settings.storage.home / "runs" / job.id
        if phase == QUEUED:
            return True
        if phase == COLLECTING:
            return self.now(job).state != "queued"
        if phase == TRAINING:
            return len(epochs_told(self.folder, job.id)) >= 2
        if phase == JUDGING:
            return (run / "candidate" / "model.safetensors").exists()
        return self.place.registry.version_of_job(job.id) is not None

    def victim(self, job: Job, who: str) -> psutil.Process | None:
        """The process to kill; None while there is none."""
        if who in _CHILD:
            pid = self.pid(_CHILD[who])
            return psutil.Process(pid) if pid else None
        flow = _process((self.now(job).evidence or {}).get("claimed_by", {}).get("pid", 0))
        if who == FLOW:
            return flow
        if who == TRAINER:
            family = flow.children(recursive=True) if flow is not None else []
            return next((each for each in family if _says(each, "models.training", "models.export")), None)
        runner = _process(self.pid("runner"))
        runs = runner.children() if runner is not None else []
        return next((each for each in runs if each != flow and _says(each, "prefect")), None)

    def pid(self, child: str) -> int:
        """Of a child of `kedge up`; 0 while it is down."""
        state = up_file.running(self.place.settings.storage.home)
        return next((each.pid for each in state.children if each.name == child), 0) if state is not None else 0

    def is_well(self, child: str) -> bool:
        state = up_file.running(self.place.settings.storage.home)
        return state is not None and any(each.name == child and each.state == "well" for each in state.children)

    def answers(self) -> bool:
        """Whether the service answers with a model."""
        with contextlib.suppress(httpx.HTTPError):
            url = f"http://127.0.0.1:{self.place.settings.serve.port}/readyz"
            return httpx.get(url, timeout=5, trust_env=False).is_success
        return False

    def looks(self) -> int:
        """How many looks the watcher has finished, by Prefect's count."""
        query = {"flows": {"name": {"any_": ["watch"]}}, "flow_runs": {"state": {"type": {"any_": ["COMPLETED"]}}}}
        return int(self._prefect("/flow_runs/count", query))

    def cancel_in_prefect(self, job: Job) -> None:
        """Cancel the job's run as the button in Prefect's pages does."""
        query = {"flows": {"name": {"any_": ["retrain"]}}, "flow_runs": {"state": {"type": {"any_": ["RUNNING"]}}}}
        runs = [run for run in self._prefect("/flow_runs/filter", query) if run["parameters"].get("job_id") == job.id]
        self._prefect(f"/flow_runs/{runs[0]['id']}/set_state", {"state": {"type": "CANCELLING"}})

    def artifacts(self) -> set[str]:
        """Keys of what the flows show in Prefect's pages."""
        return {artifact["key"] for artifact in self._prefect("/artifacts/filter", {})}

    def _prefect(self, path: str, body: dict[str, Any]) -> Any:
        url = f"{prefect_environment.api_url(self.place.settings)}{path}"
        answer = httpx.post(url, json=body, timeout=30, trust_env=False)
        answer.raise_for_status()
        return answer.json()

    def made(self, job: Job) -> int:
        """How many versions the job registered."""
        rows = self.place.ledger.rows("models")
        return sum(row.kind == "registered" and row.facts.get("job") == job.id for row in rows)

    def promotions(self, job: Job) -> int:
        """How often the champion's pointer was moved to what the job made."""
        run = rollout_runs.of_job(self.place.engine, self.name, job.id)
        return (
            sum(move.version == run.version for move in self.place.registry.champions.history())
            if run is not None
            else 0
        )


@contextlib.contextmanager
def stage(folder: Path, every_s: float = 20.0) -> Iterator[Stage]:
    """The project, trained once and kept in `folder`, under `kedge up` while the block runs."""
    if not (folder / "trained").exists():
        make_project(folder, images=100, epochs=20, more=_PORTS.format(*_free_ports(3), every_s=every_s))
        kedge(folder, "train")
        (folder / "trained").touch()
    with (folder / "up.out").open("ab") as output:
        up = subprocess.Popen(
            [sys.executable, "-m", "flows.cli", "up"], cwd=folder, env=environment(), stdin=subprocess.DEVNULL,
            stdout=output, stderr=subprocess.STDOUT, start_new_session=True,
        )  # fmt: skip
    try:
        set_up = Stage(folder)
        until(lambda: up.poll() is not None or _is_up(set_up))
        assert up.poll() is None, (folder / "up.out").read_text()
        yield set_up
    finally:
        up.send_signal(signal.SIGINT)
        up.wait(120)


def until(true: Callable[[], Any], every_s: float = 0.02) -> float:
    """Seconds until it is true."""
    began = time.monotonic()
    while not true():
        assert time.monotonic() - began < PATIENCE_S, "nothing happened"
        time.sleep(every_s)
    return time.monotonic() - began


def kill(process: psutil.Process) -> None:
    """At once, without a farewell."""
    with contextlib.suppress(psutil.NoSuchProcess):
        os.kill(process.pid, signal.SIGKILL)


def _is_up(set_up: Stage) -> bool:
    state = up_file.running(set_up.place.settings.storage.home)
    return state is not None and state.state == "up" and set_up.answers()


def _process(pid: int) -> psutil.Process | None:
    with contextlib.suppress(psutil.NoSuchProcess):
        return psutil.Process(pid) if pid else None
    return None


def _says(process: psutil.Process, *words: str) -> bool:
    with contextlib.suppress(psutil.Error):
        line = " ".join(process.cmdline())
        return any(word in line for word in words)
    return False


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as held:
        probes = [held.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
