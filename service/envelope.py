"""What goes around every answer: the id of its request, and headers that tell browsers what not to do with it."""

import logging
import re

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infra.clock import new_id
from service.errors import Refusal, error_response

logger = logging.getLogger(__name__)

_ID = b"x-request-id"
_PRINTABLE = re.compile(rb"[!-~](?:[ -~]{0,126}[!-~])?")
_ALWAYS = ((b"x-content-type-options", b"nosniff"), (b"referrer-policy", b"no-referrer"))
_PRIVATE = ("/v1", "/v2")
_NOT_STORED = (b"cache-control", b"no-store")
# Our pages have a style of their own in them, and nothing else: no script, no image, no form, nothing from elsewhere.
_PAGE = (
    (b"x-frame-options", b"DENY"),
    (
        b"content-security-policy",
        b"default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
    ),
)


class Envelope:
    """
    Gives every request an id, every answer that id and its safety headers, and what failed inside a clean 500.

    A caller's own `X-Request-ID` of 1 to 128 printable ASCII characters is kept, anything else replaced by a UUIDv7.
    Handlers find it as `request.state.request_id`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        identifier = _identifier(scope)
        # A new one: a server may hand the same state to every request.
        scope["state"] = {**scope.get("state", {}), "request_id": identifier}
        headers = [(_ID, identifier.encode()), *_ALWAYS]
        if scope["path"].startswith(_PRIVATE):
            headers.append(_NOT_STORED)
        started = False

        async def send_with_headers(message: Message) -> None:
            nonlocal started
            if message["type"] == "http.response.start":
                started = True
                message["headers"] = [*message["headers"], *headers, *(_PAGE if _is_page(message) else ())]
            await send(message)

        try:
            await self.app(scope, receive, send_with_headers)
        except Exception:
            if started:
                raise  # half an answer cannot be taken back; the server breaks the connection off
            logger.exception("%s %s failed (request %s)", scope["method"], scope["path"], identifier)
            refusal = Refusal(500, "internal", "the service failed at this request; its log says why")
            await error_response(refusal)(scope, receive, send_with_headers)


def _identifier(scope: Scope) -> str:
    for name, value in scope["headers"]:
        if name == _ID:
            if _PRINTABLE.fullmatch(value):
                return str(value.decode("ascii"))
            break
    return new_id()


def _is_page(message: Message) -> bool:
    return any(name == b"content-type" and value.startswith(b"text/html") for name, value in message["headers"])
