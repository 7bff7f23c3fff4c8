"""What every command shares: where it writes, the project it is for, and who calls it."""

import sys
from typing import Annotated, Any

import typer
from rich.console import Console

from flows.overrides import Overrides

# Where the output is no terminal nobody has a width; eighty columns would cut tables.
out = Console() if sys.stdout.isatty() else Console(width=120)

Json = Annotated[bool, typer.Option("--json", help="Write JSON to standard output, for scripts.")]


def show_json(value: Any) -> None:
    """A record, or a list of them, on standard output."""
    from flows.status import to_json

    typer.echo(to_json(value))


def place(overrides: Overrides | None = None) -> Any:
    """The project in the current folder: a Workplace, whose libraries are loaded only now."""
    from flows.workplace import open_workplace

    return open_workplace(overrides=overrides)


def person() -> str:
    """Who calls, for the ledger."""
    import getpass

    try:
        return getpass.getuser()
    except (KeyError, OSError):
        return "unknown"


def escaped(text: str) -> str:
    """Text as it stands, also where it looks like markup."""
    return text.replace("[", "\\[")
