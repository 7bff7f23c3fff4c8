"""`kedge audit`: how a version treats each subgroup, and where else it is weak."""

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from flows import terminal
from flows.terminal import Json


def audit(
    output: Annotated[Path | None, typer.Option(help="Where to write the HTML report.")] = None,
    since: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Only predictions of this day (UTC) or later.")
    ] = None,
    model_version: Annotated[int | None, typer.Option(help="Whose answers; by default the champion's.")] = None,
    drawn_only: Annotated[
        bool, typer.Option("--drawn-only", help="Count only labels that the audit sample drew by chance.")
    ] = False,
    as_json: Json = False,
) -> None:
    """
    Report how the model treats each subgroup, with intervals and sizes, and find weak slices that nobody configured.

    Groups differ beyond chance, do not, or are undecided: too small to say, with how many labels they still need.

    Example: kedge audit --since 2026-11-01 --output audit.html
    """
    from flows.audit import Asked
    from flows.audit import audit as audit_now
    from flows.show_audit import show_audit

    asked = Asked(model_version, since.date() if since else None, drawn_only)
    done = audit_now(terminal.place(), output, asked)
    if as_json:
        terminal.show_json(done.to_json())
    else:
        show_audit(terminal.out, done)
