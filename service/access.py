"""Who may ask, and how much they may send."""

import hashlib
import hmac
import ipaddress
from collections.abc import AsyncGenerator

from starlette.datastructures import Headers
from starlette.requests import Request
from starlette.types import ASGIApp, Receive, Scope, Send

from infra.errors import UserError
from infra.settings_sections import ServeSettings
from service.errors import Refusal, error_response

_GUARDED = "/v1/"


def check_listener(serve: ServeSettings) -> None:
    """
    Refuse to offer the service to other machines without a token.

    Raises:
        UserError: `serve.host` is not of this machine alone, and no token is set.
    """
    if not serve.token and not is_loopback(serve.host):
        raise UserError(
            f"serve.host is '{serve.host}', which other machines can reach, and no token is set. "
            "Set one, as in KEDGE_SERVE__TOKEN=$(openssl rand -hex 24), or listen on 127.0.0.1."
        )


def is_loopback(host: str) -> bool:
    """Whether an address can only be reached from this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class TokenGate:
    """
    Asks for the bearer token before anything of `/v1/` is read; health, metrics and documentation stay open.

    Without a token only connections over loopback are served, also when somebody started the server by hand.
    """

    def __init__(self, app: ASGIApp, token: str) -> None:
        self.app = app
        self._wanted = _digest(token) if token else None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not scope["path"].startswith(_GUARDED):
            await self.app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is None:
            await self.app(scope, receive, send)
            return
        response = error_response(refusal, {"WWW-Authenticate": "Bearer", "Connection": "close"})
        await response(scope, receive, send)

    def _refusal(self, scope: Scope) -> Refusal | None:
        if self._wanted is None:
            server = scope.get("server")
            if server is None or server[1] is None or is_loopback(server[0]) or server[0] == "testserver":
                return None
            return Refusal(401, "token_required", "no token is set, so only this machine is served; set serve.token")
        scheme, _, token = Headers(scope=scope).get("authorization", "").partition(" ")
        # Digests have one length, so that the comparison takes one time whatever was sent.
        if scheme.lower() == "bearer" and hmac.compare_digest(_digest(token.strip()), self._wanted):
            return None
        return Refusal(401, "wrong_token", "send the header 'Authorization: Bearer <token>' with the service's token")


async def limited_body(request: Request, most_bytes: int) -> AsyncGenerator[bytes, None]:
    """
    The body as it streams in.

    Raises:
        Refusal: 413 as soon as more than `most_bytes` are announced or have come.
    """
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


def _digest(token: str) -> bytes:
    return hashlib.sha256(token.encode()).digest()
