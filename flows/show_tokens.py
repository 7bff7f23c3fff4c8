"""Tokens as a person reads them on a terminal."""

import ipaddress

from rich.console import Console
from rich.text import Text

from flows.show import ago, table
from infra.settings_sections import ServeSettings
from infra.tokens import FEEDBACK, NewToken, Token


def show_new_token(console: Console, new: NewToken, serve: ServeSettings) -> None:
    """The secret, how it is used, and what its being there changes."""
    token = new.token
    console.print(f"Made the token [bold]{token.name}[/] ({token.role}). This is shown only now; keep it safe:\n")
    # Soft, here and below: what is broken into two lines cannot be copied.
    console.print(Text(f"  {new.secret}\n", "bold"), soft_wrap=True)
    console.print("It is used as in\n")
    console.print(Text(f"  {_example(new, serve)}\n"), soft_wrap=True, highlight=False)
    if new.first and not serve.token:
        console.print("It is the first one: from now on every caller needs a token, also on this machine.", style="dim")


def show_tokens(console: Console, tokens: tuple[Token, ...]) -> None:
    """Every token, living or revoked."""
    if not tokens:
        console.print("No token yet. `kedge token create NAME --role predict` makes one.", markup=False)
        return
    shown = table("name", "role", "state", "made", "by", "id")
    for token in tokens:
        state = Text("lives", "green") if token.revoked_at is None else Text(f"revoked {ago(token.revoked_at)}", "dim")
        shown.add_row(token.name, token.role, state, ago(token.created_at), Text(token.created_by), token.id)
    for column in shown.columns:
        column.no_wrap = True
    console.print(shown)


def show_revoked(console: Console, revoked: Token, tokens: tuple[Token, ...], serve: ServeSettings) -> None:
    """What was ended, and whether anybody is let in any more."""
    console.print(f"Revoked the token {revoked.name} ({revoked.role}).", highlight=False)
    if not serve.token and all(token.revoked_at is not None for token in tokens):
        console.print(
            "It was the last one: nobody is let in until you make another. `kedge token create` does.", style="yellow"
        )


def _example(new: NewToken, serve: ServeSettings) -> str:
    header = f"-H 'Authorization: Bearer {new.secret}'"
    url = f"http://{_reachable(serve.host)}:{serve.port}"
    if new.token.role == FEEDBACK:
        label = """-H 'Content-Type: application/json' -d '{"id": "ID-OF-AN-ANSWER", "label": "LABEL"}'"""
        return f"curl {header} {label} {url}/v1/feedback"
    return f"curl {header} -H 'Content-Type: image/jpeg' --data-binary @photo.jpg {url}/v1/predict"


def _reachable(host: str) -> str:
    """An address that stands for all of this machine's is none that one can call."""
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if address.is_unspecified:
        return "localhost"
    return f"[{address}]" if address.version == 6 else str(address)  # noqa: PLR2004 - the version of the protocol
