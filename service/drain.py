"""
The way out of a serving process, so that nobody who was let in is turned away.

    signal ── drain_s ──► no new connections ── a moment ──► nothing new ── all answered ──► the server's own exit
           not ready, but                    what is on its             503 `stopping`
           everything is answered            way in is answered
"""

import asyncio
import contextlib
import logging
import multiprocessing
import os
import signal
import socket
import threading
import time
from collections.abc import Callable, Iterator, MutableMapping
from types import FrameType
from typing import Any

import uvicorn
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.errors import Refusal, error_response
from service.newcomers import keep_newcomers_out

logger = logging.getLogger(__name__)

_SIGNALS = (signal.SIGTERM, signal.SIGINT)
_READINESS = ("/readyz", "/v2/health/ready")
_ALWAYS_ANSWERED = ("/livez", "/v2/health/live", "/metrics")
# Longer than a handshake takes around the world.
_HANDSHAKE_S = 0.25
# A request that was on its way when the door closed is here by now.
_LINGER_S = 0.5
# For who was let in and is silent: a caller of the last moment, or one who keeps a connection and was not asked to
# leave. On a busy machine their next word takes a while.
_SILENCE_S = 3.0
_LOOK_S = 0.05
_BODY_S = 2.0


class Drain:
    """
    What the process does between being asked to stop and its server's own exit; belongs to one event loop.

    A second signal hurries: the server exits at once, and finishes only what it has in hand.

    Attributes:
        stopping: it was asked to stop, so it is not ready any more.
        refusing: new requests are refused.
        in_hand: requests that were let in and are not answered yet.
    """

    def __init__(self, drain_s: float, patience_s: float) -> None:
        self.stopping, self.refusing, self.in_hand = False, False, 0
        self._drain_s, self._patience_s = drain_s, patience_s
        self._hurry = asyncio.Event()
        self._leaving: asyncio.Task[None] | None = None

    @contextlib.contextmanager
    def on_signals(self) -> Iterator[None]:
        """
        Stand before uvicorn's handlers while the application lives.

        uvicorn installs its own before the lifespan begins, BentoML's workers being uvicorn too. Nothing happens under
        another server, or in a thread, where there are no signals.
        """
        if threading.current_thread() is not threading.main_thread():
            yield
            return
        servers = {number: _server_behind(signal.getsignal(number)) for number in _SIGNALS}
        ours = {number: server for number, server in servers.items() if server is not None}
        loop = asyncio.get_running_loop()
        previous = {number: signal.signal(number, self._handler(loop, server)) for number, server in ours.items()}
        try:
            yield
        finally:
            for number, handler in previous.items():
                signal.signal(number, handler)

    def _handler(
        self, loop: asyncio.AbstractEventLoop, server: uvicorn.Server
    ) -> Callable[[int, FrameType | None], None]:
        def asked(number: int, _: FrameType | None) -> None:
            if self.stopping:
                loop.call_soon_threadsafe(self._hurry.set)
                server.handle_exit(number, None)
                return
            self.stopping = True
            loop.call_soon_threadsafe(self._begin, server, number)

        return asked

    def _begin(self, server: uvicorn.Server, number: int) -> None:
        self._leaving = asyncio.get_running_loop().create_task(self._leave(server, number))

    async def _leave(self, server: uvicorn.Server, number: int) -> None:
        logger.info("asked to stop (%s): not ready from now on", signal.Signals(number).name)
        try:
            await self._pause(self._drain_s)
            await _stop_listening(server)
            await self._pause(_LINGER_S)
            silent_until = time.monotonic() + _SILENCE_S
            await self._wait_while(lambda: _any_unheard(server), silent_until)
            self.refusing = True
            await self._wait_while(lambda: bool(server.server_state.connections), silent_until)
            await self._wait_while(lambda: self.in_hand > 0, time.monotonic() + self._patience_s)
            if self.in_hand:
                logger.warning("stopping with %d requests unanswered", self.in_hand)
        finally:
            server.handle_exit(number, None)

    async def _wait_while(self, busy: Callable[[], bool], until: float) -> None:
        while busy() and time.monotonic() < until and not self._hurry.is_set():
            await self._pause(_LOOK_S)

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._hurry.wait(), seconds)


class DrainGate:
    """Counts who is inside, is not ready and asks everybody to leave while stopping, and refuses whoever comes last."""

    def __init__(self, app: ASGIApp, drain: Drain) -> None:
        self.app, self._drain = app, drain

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        drain = self._drain
        path = scope["path"]
        if (drain.refusing and path not in _ALWAYS_ANSWERED) or (drain.stopping and path in _READINESS):
            await _refuse(scope, receive, send)
            return
        drain.in_hand += 1
        try:
            await self.app(scope, receive, _closing(send, drain))
        finally:
            drain.in_hand -= 1


async def _refuse(scope: Scope, receive: Receive, send: Send) -> None:
    # A connection that is closed over an unread body is reset, and the caller sees no answer.
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(_BODY_S):
            while (await receive()).get("more_body"):
                pass
    refusal = Refusal(503, "stopping", "this process is stopping; send the request again")
    await error_response(refusal, {"Connection": "close"})(scope, receive, send)


def _closing(send: Send, drain: Drain) -> Send:
    async def send_and_close(message: Message) -> None:
        # A connection that is kept would be closed under its next request.
        if drain.stopping and message["type"] == "http.response.start":
            _ask_to_leave(message)
        await send(message)

    return send_and_close


def _ask_to_leave(message: MutableMapping[str, Any]) -> None:
    others = [(name, value) for name, value in message.get("headers", ()) if name.lower() != b"connection"]
    message["headers"] = [*others, (b"connection", b"close")]


def _server_behind(handler: Any) -> uvicorn.Server | None:
    server = getattr(handler, "__self__", None)
    return server if isinstance(server, uvicorn.Server) else None


def _any_unheard(server: uvicorn.Server) -> bool:
    """Whether a connection has had no request yet."""
    return any(getattr(one, "cycle", one) is None for one in server.server_state.connections)


async def _stop_listening(server: uvicorn.Server) -> None:
    """Close the listening sockets; who is on the way into a queue of our own is taken in first."""
    listeners = getattr(server, "servers", [])
    for own in [sock for listener in listeners for sock in listener.sockets if _is_own(server, sock)]:
        with socket.socket(fileno=os.dup(own.fileno())) as handle:
            keep_newcomers_out(handle)
    await asyncio.sleep(_HANDSHAKE_S)
    for listener in listeners:
        listener.close()


def _is_own(server: uvicorn.Server, sock: Any) -> bool:
    """Whether no other process takes connections from this queue: `bentoml serve` shares one among its workers."""
    if multiprocessing.parent_process() is None and server.config.fd is None and not sock.get_inheritable():
        return True  # opened by this one process, and handed to nobody
    return hasattr(socket, "SO_REUSEPORT") and bool(sock.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT))
