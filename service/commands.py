"""How the service is started: the commands and environments of its processes, and both of them in the foreground."""

import contextlib
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from infra.cores import usable_cores
from infra.errors import UserError
from infra.settings import Settings
from service.access import check_listener

logger = logging.getLogger(__name__)

_HOUSE = Path(__file__).resolve().parents[1]
# Until the last answer at the longest, and then to hand the model and the spool back.
_AFTER_THE_LAST_ANSWER_S = 10.0
_SHIP_S = 55.0
_HURRIED_S = 10.0
_LOOK_S = 0.05


@dataclass(frozen=True)
class Child:
    """
    A process to start.

    Attributes:
        name: short, for logs.
        argv: the command.
        env: the whole environment, not an addition to one.
        folder: where it runs.
        stop_s: seconds between asking it to stop and insisting.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str]
    folder: Path
    stop_s: float = 5.0


def serve(settings: Settings, *, runtime: Literal["bentoml", "uvicorn"] = "bentoml") -> Child:
    """
    The serving processes: a supervisor and `serve.workers` workers, with BentoML's shell around the application or not.

    Raises:
        UserError: the address can be reached from other machines and there is no token, or it cannot be listened on.
    """
    check_listener(settings)
    address = ("--host", listening_address(settings), "--port", str(settings.serve.port))
    workers = ("--workers", str(settings.serve.workers or usable_cores()))
    metrics = ("--metrics-folder", str(settings.storage.home / "metrics"))
    argv = (sys.executable, "-m", "service.server", runtime, *address, *workers, *metrics)
    stop_s = settings.serve.drain_s + settings.serve.deadline_s + _AFTER_THE_LAST_ANSWER_S
    return Child("service", argv, environment(settings), _HOUSE, stop_s)


def shipper(settings: Settings) -> Child:
    """The process that moves what the service wrote into the tables."""
    argv = (sys.executable, "-m", "service.shipper", "--with-parent")
    return Child("shipper", argv, environment(settings), _HOUSE, _SHIP_S)


def run_serve(
    settings: Settings,
    *,
    runtime: Literal["bentoml", "uvicorn"] = "bentoml",
    announce: Callable[[], None] = lambda: None,
) -> int:
    """
    Run both in the foreground until one ends or Ctrl-C; returns the exit code. `announce` is called once it may start.

    The service stops first and seals what it wrote; then the shipper moves it and stops. A second Ctrl-C hurries both:
    whatever is not shipped yet waits in the spool for the next start.

    Raises:
        UserError: the port is taken, or as `serve` says.
    """
    check_port(settings)
    children = (serve(settings, runtime=runtime), shipper(settings))
    announce()
    stop, hurry = threading.Event(), threading.Event()

    def asked(*_: object) -> None:
        (hurry if stop.is_set() else stop).set()

    previous = [(number, signal.signal(number, asked)) for number in (signal.SIGINT, signal.SIGTERM)]
    running: list[subprocess.Popen[bytes]] = []
    try:
        running.extend(map(_started, children))
        while not stop.wait(0.2) and all(process.poll() is None for process in running):
            pass
        return 0 if stop.is_set() else 1
    finally:
        for process, child in zip(running, children, strict=False):
            _stop(process, child.stop_s, hurry)
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
        # Every batch takes and frees a megabyte or so: given back to the system each time, it has to be
        # faulted in again page by page, which nearly trebled the cost of the image statistics.
        "MALLOC_TRIM_THRESHOLD_": str(64 << 20),
        "MALLOC_MMAP_THRESHOLD_": str(16 << 20),
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


def _stop(process: "subprocess.Popen[bytes]", grace_s: float, hurry: threading.Event) -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    if _ended(process, grace_s, hurry):
        return
    if hurry.is_set():
        # The second one that a worker gets: it drains no longer, but answers what it has in hand.
        with contextlib.suppress(psutil.NoSuchProcess):
            for worker in psutil.Process(process.pid).children(recursive=True):
                worker.terminate()
        if _ended(process, _HURRIED_S):
            return
    else:
        logger.warning("process %d did not stop in %.0f s and was killed", process.pid, grace_s)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def _ended(process: "subprocess.Popen[bytes]", within_s: float, unless: threading.Event | None = None) -> bool:
    deadline = time.monotonic() + within_s
    while process.poll() is None and time.monotonic() < deadline and not (unless and unless.is_set()):
        time.sleep(_LOOK_S)
    return process.poll() is not None
