"""How the service is started: the commands and environments of its processes, and both of them in the foreground."""

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from infra.errors import UserError
from infra.settings import Settings
from service.access import check_listener

logger = logging.getLogger(__name__)

_HOUSE = Path(__file__).resolve().parents[1]
_GRACE_S = 30
_DRAIN_S = 60


@dataclass(frozen=True)
class Child:
    """
    A process to start.

    Attributes:
        name: short, for logs.
        argv: the command.
        env: the whole environment, not an addition to one.
        folder: where it runs.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    folder: Path


def serve(settings: Settings, *, runtime: Literal["bentoml", "uvicorn"] = "bentoml") -> Child:
    """
    The serving process: a supervisor and `serve.workers` workers, or one plain server.

    Raises:
        UserError: the address can be reached from other machines and there is no token, or it cannot be listened on.
    """
    check_listener(settings.serve)
    host, port = listening_address(settings), str(settings.serve.port)
    module, target = {
        "bentoml": ("bentoml", ("serve", "service.app:ImageClassifier", "--working-dir", str(_HOUSE))),
        "uvicorn": ("uvicorn", ("service.http:create_app", "--factory", "--no-access-log", "--lifespan", "on")),
    }[runtime]
    limits = ("--timeout-graceful-shutdown", str(_GRACE_S))
    argv = (sys.executable, "-m", module, *target, "--host", host, "--port", port, *limits)
    return Child("service", argv, environment(settings), _HOUSE)


def shipper(settings: Settings) -> Child:
    """The process that moves what the service wrote into the tables."""
    argv = (sys.executable, "-m", "service.shipper", "--with-parent")
    return Child("shipper", argv, environment(settings), _HOUSE)


def run_serve(
    settings: Settings,
    *,
    runtime: Literal["bentoml", "uvicorn"] = "bentoml",
    announce: Callable[[], None] = lambda: None,
) -> int:
    """
    Run both in the foreground until one ends or Ctrl-C; returns the exit code. `announce` is called once it may start.

    The service stops first and seals what it wrote; then the shipper moves it and stops.

    Raises:
        UserError: the port is taken, or as `serve` says.
    """
    check_port(settings)
    children = (serve(settings, runtime=runtime), shipper(settings))
    announce()
    stop = threading.Event()
    previous = [(number, signal.signal(number, lambda *_: stop.set())) for number in (signal.SIGINT, signal.SIGTERM)]
    running: list[subprocess.Popen[bytes]] = []
    try:
        running.extend(map(_started, children))
        while not stop.wait(0.2) and all(process.poll() is None for process in running):
            pass
        return 0 if stop.is_set() else 1
    finally:
        for process, grace_s in zip(running, (_GRACE_S + 5, _DRAIN_S), strict=False):
            _stop(process, grace_s)
        for number, handler in previous:
            signal.signal(number, handler)


def environment(settings: Settings, base: Mapping[str, str] | None = None) -> dict[str, str]:
    """The environment of the service's processes: which project, no telemetry, one thread a worker."""
    env = dict(os.environ if base is None else base)
    for leftover in (
        "BENTOML_CONFIG",
        "BENTOML_CONFIG_OPTIONS",
        "BENTOML_HOST",
        "BENTOML_PORT",
        "PROMETHEUS_MULTIPROC_DIR",
        "KEDGE_SUPERVISOR",
    ):
        env.pop(leftover, None)
    env |= {
        "KEDGE_ROOT": str(settings.root),
        # A folder of the user's own named `models` must not be imported instead of ours.
        "PYTHONSAFEPATH": "1",
        "PYTHONUNBUFFERED": "1",
        "BENTOML_HOME": str(settings.storage.home / "bento"),
        "BENTOML_DO_NOT_TRACK": "True",
        "DO_NOT_TRACK": "1",
        # More threads than cores that are free stall each other at spinning barriers, up to 25 times slower.
        "OMP_NUM_THREADS": "1",
        "OMP_WAIT_POLICY": "PASSIVE",
    }
    # Installed or not, the house is importable wherever the process stands.
    parts = [str(_HOUSE), *filter(None, env.get("PYTHONPATH", "").split(os.pathsep))]
    env["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(parts))
    (settings.storage.home / "bento").mkdir(parents=True, exist_ok=True)
    return env


def listening_address(settings: Settings) -> str:
    """The settings' host as a number, which is all that the shell takes."""
    host = settings.serve.host
    try:
        found: Sequence[tuple[object, ...]] = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except OSError as error:
        raise UserError(f"serve.host is '{host}', which is no address of this machine: {error}") from error
    addresses = [str(entry[4][0]) for entry in found]  # type: ignore[index]
    # Of `localhost`, callers try 127.0.0.1 in any case, ::1 only sometimes.
    return next((address for address in addresses if "." in address), addresses[0])


def check_port(settings: Settings) -> None:
    """
    Find out before anything starts whether the port is free.

    Raises:
        UserError: somebody listens there already.
    """
    host, port = listening_address(settings), settings.serve.port
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with contextlib.closing(socket.socket(family, socket.SOCK_STREAM)) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            raise UserError(
                f"The service cannot listen on {host}:{port}: {error.strerror}. "
                "Stop what listens there, or set serve.port in kedge.toml."
            ) from error


def _started(child: Child) -> "subprocess.Popen[bytes]":
    # A session of its own: Ctrl-C reaches this process only, which then stops its children in order.
    return subprocess.Popen(child.argv, env=dict(child.env), cwd=child.folder, start_new_session=True)


def _stop(process: "subprocess.Popen[bytes]", grace_s: float) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    try:
        process.wait(grace_s)
    except subprocess.TimeoutExpired:
        logger.warning("process %d did not stop in %.0f s and was killed", process.pid, grace_s)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()
