"""The door: who asks, and whether their role allows what they ask for."""

import hmac
import ipaddress
from dataclasses import dataclass
from functools import lru_cache

from starlette.types import Scope

from infra.tokens import ADMIN, FEEDBACK, PREDICT, KnownToken, TokenBook, digest
from service.errors import Refusal
from service.known_tokens import KnownTokens

# What a role may ask, besides admin, which may ask everything.
_ROLES = {"/v1/predict": (PREDICT,), "/v1/feedback": (FEEDBACK,), "/v1/model": (PREDICT, FEEDBACK)}
_PROTOCOL = "/v2"  # of inference servers; it predicts
_OWNER = "serve.token"


@dataclass(frozen=True)
class Caller:
    """
    Who asks.

    Attributes:
        id: the token's, or an address: what the limit of requests counts by.
    """

    id: str
    role: str


class Door:
    """
    Decides who comes in, from what is known when they knock.

    Once a token was made, everybody needs one, also on this machine: behind a proxy here all callers come from here.
    Revoking the last one therefore closes the door, it does not open it again. Before the first token, connections
    over loopback are served, also when somebody started the server by hand. While nobody knows which tokens there
    are, only `serve.token` opens.
    """

    def __init__(self, owner_token: str, known: KnownTokens) -> None:
        self._owner = digest(owner_token.encode()) if owner_token else None
        self._known = known

    def caller(self, scope: Scope) -> Caller:
        """
        Who asks.

        Raises:
            Refusal: 401 without a token, or with one that does not live; 503 while the tokens are not known.
        """
        sent, book = _bearer(scope), self._known.book
        found = self._found(sent, book)
        if found is not None:
            return found
        if book is None:
            raise Refusal(
                503, "tokens_unknown", "the database is away, and nobody kept a copy of its tokens; send this again"
            )
        if self._owner is not None or book.any_ever:
            if sent is None:
                raise Refusal(401, "token_required", "send the header 'Authorization: Bearer <token>'")
            raise Refusal(401, "wrong_token", "this token is not known; it may have been revoked")
        if not _over_loopback(scope):
            raise Refusal(401, "token_required", "there is no token yet, so only this machine is served; make one")
        client = scope.get("client")
        return Caller(f"address {client[0] if client else 'unknown'}", ADMIN)

    def _found(self, sent: bytes | None, book: TokenBook | None) -> Caller | None:
        # Digests have one length, and all of them are compared whichever fits: the time taken tells nothing.
        given = digest(sent or b"")
        found: KnownToken | None = None
        for token in book.living if book else ():
            if hmac.compare_digest(given, token.sha256):
                found = token
        if self._owner is not None and hmac.compare_digest(given, self._owner):
            return Caller(_OWNER, ADMIN)
        return None if found is None else Caller(found.id, found.role)


def check_role(caller: Caller, method: str, path: str) -> None:
    """
    Refuse what the caller's role does not allow; what is not known here, only admins may ask.

    Raises:
        Refusal: 403.
    """
    protocol = path == _PROTOCOL or path.startswith(f"{_PROTOCOL}/")
    allowed = (PREDICT,) if protocol else _ROLES.get(path, ())
    if caller.role == ADMIN or caller.role in allowed:
        return
    wanted = " or ".join(f"'{role}'" for role in (*allowed, ADMIN))
    raise Refusal(
        403, "wrong_role", f"this token's role is '{caller.role}', but {method} {path} asks for {wanted}; use another"
    )


@lru_cache(maxsize=16)
def is_loopback(host: str) -> bool:
    """Whether an address can only be reached from this machine."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _bearer(scope: Scope) -> bytes | None:
    """The token as it was sent, byte for byte; None where there is none."""
    for name, value in scope["headers"]:
        if name == b"authorization":
            scheme, _, token = value.partition(b" ")
            return token.strip() if scheme.lower() == b"bearer" else None
    return None


def _over_loopback(scope: Scope) -> bool:
    # The address that was connected to, which no header can change: only this machine can connect to its loopback.
    server = scope.get("server")
    return server is None or server[1] is None or is_loopback(server[0]) or server[0] == "testserver"
