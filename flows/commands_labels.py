"""`kedge labels list`: what people said, also what nothing can use yet."""

from typing import Annotated

import typer

from flows import terminal
from flows.terminal import Json


def list_labels(
    orphans: Annotated[bool, typer.Option("--orphans", help="Only those of no prediction in the log.")] = False,
    quarantine: Annotated[
        bool, typer.Option("--quarantine", help="Only those of a class that the champion lacks.")
    ] = False,
    last: Annotated[int, typer.Option(help="The newest so many; 0 = all.", min=0)] = 20,
    as_json: Json = False,
) -> None:
    """
    List the labels that count: the last of each answer, the newest first.

    An orphan's prediction may still be on its way to the tables, or its id is mistyped. What is in quarantine is
    kept until a champion has the class.

    Example: kedge labels list --orphans
    """
    from flows.kept_labels import kept_labels
    from flows.show_labels import show_labels

    found = [
        label
        for label in kept_labels(terminal.place())
        if (label.orphan or not orphans) and (label.quarantined or not quarantine)
    ]
    chosen = found[:last] if last else found
    if as_json:
        terminal.show_json([vars(label) for label in chosen])
    elif chosen:
        show_labels(terminal.out, chosen, len(found))
    else:
        terminal.out.print("There are no such labels." if orphans or quarantine else "There are no labels yet.")
