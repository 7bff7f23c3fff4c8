"""`kedge performance`: how right the answers are, as far as anything can tell."""

from datetime import UTC, datetime
from typing import Annotated

import typer

from flows import terminal
from flows.terminal import Json
from infra.errors import UserError


def performance(
    since: Annotated[
        str, typer.Option(help="Only predictions from this day on (UTC), as 2026-11-01; by default thirty days.")
    ] = "",
    as_json: Json = False,
) -> None:
    """
    Show how right the champion's answers are: by the labels so far, without labels, and with the labels asked for.

    Example: kedge performance --since 2026-11-01
    """
    from flows.performing import performing
    from flows.show_performance import show_performance
    from monitoring.quality.records import to_json

    found = performing(terminal.place(), _day(since))
    if as_json:
        terminal.show_json(None if found is None else to_json(found))
    elif found is None:
        terminal.out.print("There is no champion yet, so nothing answers. `kedge train` makes the first one.")
    else:
        show_performance(terminal.out, found)


def _day(text: str) -> datetime | None:
    if not text:
        return None
    try:
        found = datetime.fromisoformat(text)
    except ValueError:
        expected = "Expected one as 2026-11-01, or a moment as 2026-11-01T12:00."
        raise UserError(f"--since {text} is no day. {expected}") from None
    return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
