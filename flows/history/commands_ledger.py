"""`kedge ledger show`, `verify` and `export`: what was decided, and that nobody has changed it since."""

from pathlib import Path
from typing import Annotated

import typer

from flows import terminal
from flows.terminal import Json


def show(
    stream: Annotated[str, typer.Option(help="One stream alone, such as models, jobs or watch.")] = "",
    last: Annotated[int, typer.Option(help="How many of the newest rows.", min=1)] = 20,
    as_json: Json = False,
) -> None:
    """
    Show the newest rows of the ledger, of all streams or of one.

    Example: kedge ledger show --stream models --last 5
    """
    from flows.history.ledger import newest_rows
    from flows.history.show_ledger import show_rows

    rows = newest_rows(terminal.place(), stream, last)
    if as_json:
        terminal.show_json([vars(row) for row in rows])
    else:
        show_rows(terminal.out, rows)


def verify(
    heads: Annotated[
        list[Path] | None,
        typer.Option(help="An export kept elsewhere to hold it against, too; may be given again.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """
    Prove that no row was changed, taken away or cut off: every chain, and every exported head.

    Ends with 1 where something does not fit, and says what.

    Example: kedge ledger verify
    """
    from flows.history.ledger import verify as verify_now
    from flows.history.show_ledger import show_check

    found = verify_now(terminal.place(), tuple(heads or ()))
    if as_json:
        terminal.show_json(found)
    else:
        show_check(terminal.out, found)
    found.insist()


def export(
    to: Annotated[
        Path | None, typer.Option(help="A folder elsewhere that gets a copy, for an auditor.", show_default=False)
    ] = None,
    begins_anew: Annotated[
        str,
        typer.Option(metavar="WHY", help="The ledger need not fit the exports before, as after a backup was put back."),
    ] = "",
    as_json: Json = False,
) -> None:
    """
    Write every stream's newest hash to the object store, where cutting off the ledger's end would be seen.

    `kedge up` does it by itself every day, as retention.cron says.

    Example: kedge ledger export --to /mnt/audit
    """
    from flows.history.ledger import export as export_now
    from flows.history.show_ledger import show_exported

    done = export_now(terminal.place(), actor=terminal.person(), to=to, begins_anew=begins_anew)
    if as_json:
        terminal.show_json(done)
    else:
        show_exported(terminal.out, done)
