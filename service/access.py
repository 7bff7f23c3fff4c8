"""Who may ask, how often, and how much they may send."""

import math
import time
from collections.abc import AsyncGenerator
from http import HTTPStatus

from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from infra.database import open_database
from infra.errors import UserError
from infra.settings import Settings
from infra.tokens import TokenBook, token_book
from service.door import Caller, check_role, is_loopback
from service.errors import Refusal, error_response
from service.known_tokens import copy_of_tokens, read_copy
from service.request_rate import RequestRate

# Everything that is not listed asks for a token, so that nothing new is open because somebody forgot it.
_OPEN = frozenset(
    {"/", "/docs", "/openapi.json", "/livez", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready"}
)
# Who is refused may finish sending so much, which nobody reads: a connection that is closed in the middle of a body is
# reset, and its caller never learns why. Beyond that, bandwidth is worth more than words.
_DISCARDED_BYTES = 1_000_000
_CHALLENGES = {401: "Bearer", 403: 'Bearer error="insufficient_scope"'}


def check_listener(settings: Settings) -> None:
    """
    Refuse to offer the service to other machines without a token.

    Raises:
        UserError: `serve.host` is not of this machine alone, and there is no token; or the database, which would
            know, cannot be opened, and no worker left a copy of its tokens.
    """
    serve = settings.serve
    if serve.token or is_loopback(serve.host) or _tokens_of(settings).living:
        return
    raise UserError(
        f"serve.host is '{serve.host}', which other machines can reach, and no token is set. "
        "Make one, as in `kedge token create hall-3 --role predict`, or listen on 127.0.0.1."
    )


class TokenGate:
    """
    Lets in who may ask for what is asked for, and not too often, before anything of the body is read.

    Health, metrics and documentation are open. The caller is in the request's state as `caller`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or _path(scope) in _OPEN:
            await self.app(scope, receive, send)
            return
        path = _path(scope)
        begun = time.perf_counter()
        worker = scope["app"].state.worker
        try:
            caller = worker.door.caller(scope)
            check_role(caller, scope["method"], path)
            check_rate(caller, worker.request_rate)
        except Refusal as refusal:
            worker.metrics.request(path, refusal.status, time.perf_counter() - begun)
            await error_response(refusal, _headers(refusal, scope))(scope, receive, send)
            return
        scope["state"] = {**scope.get("state", {}), "caller": caller}
        await self.app(scope, receive, send)


def check_rate(caller: Caller, rate: RequestRate | None) -> None:
    """
    Count a request.

    Raises:
        Refusal: 429; the caller is over its limit.
    """
    wait_s = rate.wait_s(caller.id) if rate is not None else 0
    if wait_s:
        message = f"more requests than serve.most_requests_per_s allows; come back in {wait_s} s"
        raise Refusal(429, "rate_limited", message, wait_s)


async def limited_body(request: Request, most_bytes: int) -> AsyncGenerator[bytes, None]:
    """
    The body as it streams in.

    Raises:
        Refusal: 413 as soon as more than `most_bytes` are announced or have come; 415 where it is packed.
    """
    encoding = request.headers.get("content-encoding", "identity")
    if encoding != "identity":
        words = f"the body is packed with '{encoding[:32]}'; images are small already, send it plain"
        raise Refusal(415, "unsupported_encoding", words)
    announced = request.headers.get("content-length", "0")
    if announced.isdecimal() and int(announced) > most_bytes:
        raise _too_large(most_bytes)
    received = 0
    async for chunk in request.stream():
        received += len(chunk)
        if received > most_bytes:
            raise _too_large(most_bytes)
        yield chunk


def _too_large(most_bytes: int) -> Refusal:
    return Refusal(413, "body_too_large", f"the body is larger than {most_bytes:,} bytes (serve.most_body_mb)")


def _tokens_of(settings: Settings) -> TokenBook:
    try:
        engine = open_database(settings.storage.database)
    except UserError:
        copy = read_copy(copy_of_tokens(settings))
        if copy is None:
            raise
        return copy
    try:
        return token_book(engine)
    finally:
        engine.dispose()


def _path(scope: Scope) -> str:
    # As routes see it: without the prefix under which the server may have been mounted.
    path: str = scope["path"]
    return path.removeprefix(scope.get("root_path", ""))


def _headers(refusal: Refusal, scope: Scope) -> dict[str, str]:
    if refusal.status == HTTPStatus.TOO_MANY_REQUESTS:
        return {}
    headers = {"WWW-Authenticate": _CHALLENGES[refusal.status]} if refusal.status in _CHALLENGES else {}
    if _announced_bytes(scope) > _DISCARDED_BYTES:
        headers["Connection"] = "close"
    return headers


def _announced_bytes(scope: Scope) -> float:
    lengths = [value for name, value in scope["headers"] if name == b"content-length"]
    if lengths:
        return float(lengths[0]) if lengths[0].isdigit() else math.inf
    return math.inf if any(name == b"transfer-encoding" for name, _ in scope["headers"]) else 0
