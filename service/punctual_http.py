"""A connection that never finishes its headers is closed: uvicorn itself would hold it for ever."""

import asyncio

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

# Nobody honest needs longer for a kilobyte, and a browser that connects ahead of time simply connects again.
HEADERS_S = 20.0


class PunctualHttp(HttpToolsProtocol):
    """
    uvicorn's protocol, with a limit on the time from a connection, or a request's first byte, to its last header.

    Bodies have a limit of their own (`serve.upload_s`), and idle connections uvicorn's.
    """

    headers_s = HEADERS_S
    _waiting: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override] # as its parent has it
        super().connection_made(transport)
        self._wait_for_headers()

    def on_message_begin(self) -> None:
        super().on_message_begin()
        self._wait_for_headers()

    def on_headers_complete(self) -> None:
        self._stop_waiting()
        super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_waiting()
        super().connection_lost(exc)

    def _wait_for_headers(self) -> None:
        self._stop_waiting()
        self._waiting = self.loop.call_later(self.headers_s, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._waiting is not None:
            self._waiting.cancel()
            self._waiting = None
