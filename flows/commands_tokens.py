"""`kedge token create`, `list` and `revoke`: who may ask what of the service."""

from enum import StrEnum
from typing import Annotated, Any

import typer

from flows import terminal
from flows.terminal import Json


class Role(StrEnum):
    """As `infra.tokens.ROLES`."""

    predict = "predict"
    feedback = "feedback"
    admin = "admin"


def create(
    name: Annotated[str, typer.Argument(help="What will use it, such as the name of a machine.")],
    role: Annotated[
        Role, typer.Option(help="predict = ask for answers, feedback = hand in labels, admin = everything.")
    ],
    as_json: Json = False,
) -> None:
    """
    Make a token and show its secret, this once: only a hash of it is kept.

    Example: kedge token create hall-3 --role predict
    """
    from flows.show_tokens import show_new_token
    from infra import tokens

    place = terminal.place()
    new = tokens.create(place.engine, name, role.value, actor=terminal.person())
    if as_json:
        terminal.show_json({**vars(new.token), "secret": new.secret})
    else:
        show_new_token(terminal.out, new, place.settings.serve)


def list_tokens(as_json: Json = False) -> None:
    """
    List every token with its role, also revoked ones; secrets are not kept, so none is shown.

    Example: kedge token list
    """
    from flows.show_tokens import show_tokens
    from infra import tokens

    listed: tuple[Any, ...] = tokens.tokens(terminal.place().engine)
    if as_json:
        terminal.show_json([vars(token) for token in listed])
    else:
        show_tokens(terminal.out, listed)


def revoke(
    name: Annotated[str, typer.Argument(help="The token's name, or its id, as `kedge token list` shows them.")],
    as_json: Json = False,
) -> None:
    """
    End a token: a running service refuses it from about a second later on.

    Example: kedge token revoke hall-3
    """
    from flows.show_tokens import show_revoked
    from infra import tokens

    place = terminal.place()
    revoked = tokens.revoke(place.engine, name, actor=terminal.person())
    if as_json:
        terminal.show_json(vars(revoked))
    else:
        show_revoked(terminal.out, revoked, tokens.tokens(place.engine), place.settings.serve)
