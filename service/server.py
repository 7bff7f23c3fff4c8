"""
The serving processes: `python -m service.server RUNTIME`, a supervisor and workers with a listening socket each.

Workers that share one socket do not share the work: whoever wakes first takes every connection that waits, and keeps
it. Where each has its own, the kernel spreads connections over them. uvicorn's supervisor starts the workers, starts
them again and stops them; BentoML's application runs under it as well as ours alone.
"""

import argparse
import os
import shutil
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import uvicorn
from starlette.types import ASGIApp
from uvicorn.supervisors.multiprocess import Multiprocess

SUPERVISOR_VARIABLE = "KEDGE_SUPERVISOR"

_APPLICATIONS = {"bentoml": "service.app:application", "uvicorn": "service.server:application"}
# Requests are finished before the server is asked to exit (service/drain.py); what is left had its time.
_GRACE_S = 5
# Longer than callers keep an idle connection, or both would close it in the moment in which it is used.
_KEEP_ALIVE_S = 30
# A worker that does not answer its supervisor for so long is killed; importing on a busy machine takes seconds.
_HUNG_S = 30


class SharedPort(socket.socket):
    """
    A port that belongs to one supervisor, and of which each of its workers gets a listening socket of its own.

    The supervisor never listens. So a caller is refused at once while no worker is there, instead of waiting in a
    queue that nobody empties.
    """

    def __init__(self, host: str, port: int) -> None:
        super().__init__(_family(host), socket.SOCK_STREAM)
        self.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Bound before it is shared: another supervisor's port cannot be joined.
        self.bind((host, port))
        _share(self)

    def __reduce__(self) -> tuple[Any, ...]:
        """Sent to a worker, it becomes that worker's own socket."""
        return _joined, self.getsockname()[:2]


class _Supervisor(Multiprocess):
    """uvicorn's, which sees at once that a worker died while it was being asked how it is."""

    def keep_subprocess_alive(self) -> None:
        # As long as the worker's end of the line is open here too, the line stays silent instead of breaking.
        for process in self.processes:
            process.child_conn.close()
        super().keep_subprocess_alive()


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve until a signal; a worker that dies is started again."""
    parser = argparse.ArgumentParser(prog="python -m service.server")
    parser.add_argument("runtime", choices=_APPLICATIONS)
    parser.add_argument("--host", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--workers", type=int, required=True)
    parser.add_argument("--metrics-folder", type=Path, required=True, help="private to this server; emptied")
    given = parser.parse_args(arguments)
    config = uvicorn.Config(
        _APPLICATIONS[given.runtime],
        factory=True,
        http="service.punctual_http:PunctualHttp",
        host=given.host,
        port=given.port,
        workers=given.workers,
        lifespan="on",
        access_log=False,
        server_header=False,
        timeout_keep_alive=_KEEP_ALIVE_S,
        timeout_graceful_shutdown=_GRACE_S,
        timeout_worker_healthcheck=_HUNG_S,
    )
    with SharedPort(given.host, given.port) as port:
        # The workers read both where they start: whom to leave with, and where their counters are added up.
        os.environ[SUPERVISOR_VARIABLE] = str(os.getpid())
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = str(_emptied(given.metrics_folder))
        _Supervisor(config, sockets=[port]).run()


def application() -> ASGIApp:
    """Our application in a worker of this server, without a shell."""
    from service.http import create_app
    from service.worker import leave_with_parent

    leave_with_parent(int(os.environ[SUPERVISOR_VARIABLE]))
    return create_app()


def _joined(host: str, port: int) -> socket.socket:
    own = socket.socket(_family(host), socket.SOCK_STREAM)
    own.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    _share(own)
    own.bind((host, port))
    return own


def _share(one: socket.socket) -> None:
    # Missing on Windows alone. On macOS the port is shared, but the newest worker gets every connection.
    if hasattr(socket, "SO_REUSEPORT"):
        one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)


def _family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


def _emptied(folder: Path) -> Path:
    """The counters of an earlier server would be added to those of this one."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True, mode=0o700)
    return folder


if __name__ == "__main__":
    main()
