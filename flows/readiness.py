"""Before a child starts: are its ports free? After: is it well?"""

import asyncio
import contextlib
import errno
import socket
from datetime import datetime

import httpx
import psutil
import sqlalchemy as sa

from flows.children import Child, Listener, Ready
from infra.errors import UserError
from infra.heartbeat import last_beat

_ANSWER_S = 2.0
_BAD_REQUEST = 400


def check_ports(children: tuple[Child, ...]) -> None:
    """
    Raises:
        UserError: names every port that somebody else has, who it is where that can be seen, and the setting.
    """
    taken = [_words(listener) for child in children for listener in child.listens if not free(listener)]
    if taken:
        raise UserError("\n".join(taken))


def free(listener: Listener) -> bool:
    """True when this process could listen there now."""
    family = socket.AF_INET6 if ":" in listener.host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        # As servers do it: connections that are fading away from an earlier run are no obstacle.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((listener.host, listener.port))
        except OSError as error:
            if error.errno in (errno.EADDRINUSE, errno.EACCES):
                return False
            raise UserError(
                f"Nothing can listen on {listener.host}, port {listener.port}: {error.strerror}. "
                f"Expected an address of this machine; change the host beside {listener.setting} in kedge.toml."
            ) from error
    return True


async def is_well(ready: Ready, started_at: datetime, engine: sa.Engine) -> bool:
    """Ask once. A heartbeat counts when it is younger than the child's start."""
    if ready.url:
        return await _answers(ready.url)
    if ready.heartbeat:
        beat = await asyncio.to_thread(last_beat, engine, ready.heartbeat)
        return beat is not None and beat >= started_at
    return True


async def _answers(url: str) -> bool:
    async with httpx.AsyncClient(timeout=_ANSWER_S, trust_env=False) as client:
        try:
            return (await client.get(url)).status_code < _BAD_REQUEST
        except httpx.HTTPError:
            return False


def _words(listener: Listener) -> str:
    variable = "KEDGE_" + listener.setting.upper().replace(".", "__")
    return (
        f"Port {listener.port} on {listener.host} is in use{_owner(listener.port)}. "
        f"Stop that process, or set {listener.setting} in kedge.toml (or {variable}) to a free port."
    )


def _owner(port: int) -> str:
    # Other people's sockets cannot be seen everywhere; then the port alone has to do.
    with contextlib.suppress(psutil.Error, OSError):
        for connection in psutil.net_connections("tcp"):
            listening = connection.status == psutil.CONN_LISTEN
            if listening and connection.laddr and connection.laddr.port == port and connection.pid:
                return f" by process {connection.pid} ({psutil.Process(connection.pid).name()})"
    return ""
