"""Bearer tokens: who may ask what of the service. Made once, shown once, kept only as a hash."""

import hashlib
import re
import secrets
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from infra import schema
from infra.clock import new_id, now
from infra.database import reading, writing
from infra.errors import UserError
from infra.ledger import append_within

PREDICT, FEEDBACK, ADMIN = "predict", "feedback", "admin"
ROLES = (PREDICT, FEEDBACK, ADMIN)

_PREFIX = "kedge_"  # so that scanners of repositories and logs can tell what they have found
_RANDOM_BYTES = 32
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}")
_STREAM = "tokens"  # of the ledger

_tokens = schema.tokens
_LIVING = _tokens.c.revoked_at.is_(None)


@dataclass(frozen=True)
class Token:
    """
    One token, without its secret, which nobody has but the one it was made for.

    Attributes:
        role: "predict", "feedback", or "admin", which may do everything.
        revoked_at: None while it lives.
    """

    id: str
    name: str
    role: str
    created_at: datetime
    created_by: str
    revoked_at: datetime | None


@dataclass(frozen=True)
class NewToken:
    """
    A token at the one moment at which its secret is known.

    Attributes:
        first: no token was ever made before: from now on the service asks everybody for one.
    """

    token: Token
    secret: str
    first: bool


@dataclass(frozen=True)
class KnownToken:
    """What the service has to know of a living token; `sha256` is the digest of its secret."""

    id: str
    role: str
    sha256: bytes


@dataclass(frozen=True)
class TokenBook:
    """
    Which tokens open the door.

    Attributes:
        any_ever: a token was made at some time, be it revoked by now.
    """

    living: tuple[KnownToken, ...]
    any_ever: bool


def create(engine: sa.Engine, name: str, role: str, *, actor: str) -> NewToken:
    """
    Make a token; the secret is in what is returned, and nowhere else.

    Raises:
        UserError: the name is taken by a living token or cannot be one, or there is no such role.
    """
    if not _NAME.fullmatch(name):
        raise UserError(
            "A token's name should be 1 to 80 letters (a-z), digits, '.', '_' or '-', and begin with a letter or a "
            f"digit; found {name!r}."
        )
    if role not in ROLES:
        raise UserError(f"A token's role should be {PREDICT}, {FEEDBACK} or {ADMIN}; found {role!r}.")
    secret = _PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)
    token = Token(new_id(), name, role, now(), actor, None)
    with writing(engine) as connection:
        same = connection.execute(sa.select(_tokens).where(_LIVING, _tokens.c.name == name)).first()
        if same is not None:
            raise UserError(
                f"There is a living token '{name}' already, with the role {same.role}. "
                f"Choose another name, or revoke that one first: kedge token revoke {name}"
            )
        first = connection.execute(sa.select(_tokens.c.id).limit(1)).first() is None
        row = {**vars(token), "sha256": digest(secret.encode()).hex()}
        connection.execute(_tokens.insert().values(**row))
        append_within(connection, _STREAM, "created", _facts(token), actor)
    return NewToken(token, secret, first)


def revoke(engine: sa.Engine, name_or_id: str, *, actor: str) -> Token:
    """
    End a living token; the service refuses it from its next look on, about half a second later.

    Raises:
        UserError: no living token has this name or id.
    """
    with writing(engine) as connection:
        living = _list(connection, _LIVING)
        token = next((each for each in living if name_or_id in (each.id, each.name)), None)
        if token is None:
            listed = ", ".join(each.name for each in living) or "none"
            raise UserError(f"There is no living token '{name_or_id}'; there are: {listed}. `kedge token list` tells.")
        connection.execute(_tokens.update().where(_tokens.c.id == token.id).values(revoked_at=now()))
        append_within(connection, _STREAM, "revoked", _facts(token), actor)
        return _list(connection, _tokens.c.id == token.id)[0]


def tokens(engine: sa.Engine) -> tuple[Token, ...]:
    """All tokens, oldest first, also revoked ones."""
    with reading(engine) as connection:
        return _list(connection)


def token_book(engine: sa.Engine) -> TokenBook:
    """What the service has to know to open or close its door."""
    query = sa.select(_tokens.c.id, _tokens.c.role, _tokens.c.sha256).where(_LIVING).order_by(_tokens.c.id)
    with reading(engine) as connection:
        living = tuple(KnownToken(row.id, row.role, bytes.fromhex(row.sha256)) for row in connection.execute(query))
        any_ever = bool(living) or connection.execute(sa.select(_tokens.c.id).limit(1)).first() is not None
    return TokenBook(living, any_ever)


def digest(secret: bytes) -> bytes:
    """
    What is kept of a secret.

    A slow, salted hash protects words that people choose, which can be guessed. These are 256 random bits: nobody
    tries them one by one, and no two are alike. A plain SHA-256 is as hard to turn round, and costs every request a
    microsecond instead of a tenth of a second.
    """
    return hashlib.sha256(secret).digest()


def _list(connection: sa.Connection, *conditions: sa.ColumnElement[bool]) -> tuple[Token, ...]:
    columns = (column for column in _tokens.c if column.name != "sha256")
    query = sa.select(*columns).where(*conditions).order_by(_tokens.c.created_at, _tokens.c.id)
    return tuple(Token(**row) for row in connection.execute(query).mappings())


def _facts(token: Token) -> dict[str, Any]:
    return {"token": token.id, "name": token.name, "role": token.role}
