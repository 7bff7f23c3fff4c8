"""A project as a person runs it: the `kedge` command in a folder, and requests over HTTP."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest


class Project:
    """A folder with a kedge.toml, and the public ways to use it."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder = folder
        self.url = f"http://127.0.0.1:{port}"

    def kedge(self, *arguments: str, timeout_s: float = 600) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "flows.cli", *arguments],
            cwd=self.folder,
            env={**os.environ, "PYTHONSAFEPATH": "1"},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )

    def kedge_json(self, *arguments: str) -> Any:
        done = self.kedge(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    @contextmanager
    def up(self) -> Iterator[None]:
        log = self.folder / "up.out"
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", "flows.cli", "up"],
                cwd=self.folder,
                env={**os.environ, "PYTHONSAFEPATH": "1"},
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
            try:
                self.wait(lambda: self._is_up(process, log), 240, "kedge up")
                yield
            finally:
                process.send_signal(signal.SIGINT)
                process.wait(60)

    def predict(self, image: bytes, **metadata: str) -> Any:
        answer = httpx.post(f"{self.url}/v1/predict", content=image, params=metadata, timeout=30, trust_env=False)
        answer.raise_for_status()
        return answer.json()

    def feedback(self, labels: list[dict[str, str]]) -> None:
        httpx.post(f"{self.url}/v1/feedback", json=labels, timeout=30, trust_env=False).raise_for_status()

    def wait(self, done: Callable[[], bool], within_s: float, what: str) -> None:
        deadline = time.monotonic() + within_s
        while not done():
            if time.monotonic() > deadline:
                pytest.fail(f"{what} did not come within {within_s:.0f} s\n{self._logs()}")
            time.sleep(1)

    def _is_up(self, process: "subprocess.Popen[bytes]", log: Path) -> bool:
        if process.poll() is not None:
            pytest.fail(f"`kedge up` ended with {process.returncode}:\n{log.read_text()[-3000:]}")
        try:
            return httpx.get(f"{self.url}/readyz", timeout=5, trust_env=False).is_success and (
                "Everything is up" in log.read_text()
            )
        except httpx.HTTPError:
            return False

    def _logs(self) -> str:
        logs = sorted((self.folder / ".kedge" / "logs").glob("*.log"))
        return "\n".join(f"--- {path.name}\n{path.read_text(errors='replace')[-1500:]}" for path in logs)


@pytest.fixture
def make_project(tmp_path: Path) -> Callable[[str], Project]:
    """A project whose kedge.toml is this text plus free ports."""

    def make(settings: str) -> Project:
        service, console, prefect = (_free_port() for _ in range(3))
        ports = f"[serve]\nport = {service}\nseal_s = 2\n[console]\nport = {console}\n[prefect]\nport = {prefect}\n"
        (tmp_path / "kedge.toml").write_text(settings + ports)
        return Project(tmp_path, service)

    return make


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
