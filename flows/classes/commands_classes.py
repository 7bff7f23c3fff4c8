"""`kedge classes` and `kedge classes add`: what the champion can answer, and how it learns one answer more."""

import sys
from typing import Annotated

import typer
from rich.console import Console

from flows import terminal
from flows.terminal import Json
from infra.errors import UserError


def classes(context: typer.Context, as_json: Json = False) -> None:
    """
    List the champion's classes, and those in quarantine that people named and it lacks.

    Example: kedge classes
    """
    if context.invoked_subcommand is not None:
        return
    from flows.classes.quarantine import class_counts
    from flows.classes.show import show_classes

    counts = class_counts(terminal.place())
    if as_json:
        terminal.show_json([{**vars(one), "lacks": one.lacks} for one in counts])
    else:
        show_classes(terminal.out, counts)


def add(
    names: Annotated[list[str], typer.Argument(metavar="NAME…", help="As people labelled it; several at once.")],
    queue: Annotated[bool, typer.Option("--queue", help="Leave the job to the runner of `kedge up`.")] = False,
    as_json: Json = False,
) -> None:
    """
    Train a candidate that knows a class more: the champion's head made wider, its other answers kept.

    It is compared with the champion on the classes that both know; the new one has to reach the gate's floors.

    Example: kedge classes add forklift
    """
    from flows.classes.add import REASON, add_classes, queue_wider
    from flows.show_training import show_training
    from flows.summons import call_for_retrain
    from flows.telling import on_terminal

    place = terminal.place()
    if queue:
        job = queue_wider(place, names, terminal.person())
        call_for_retrain(place.settings, job.id)
        if as_json:
            terminal.show_json(job)
            return
        terminal.out.print(f"Job {job.id} is queued for {REASON}; `kedge jobs` shows how it goes.", highlight=False)
        return
    with on_terminal(Console(stderr=True), place.settings.train.budget_minutes) as teller:
        done = add_classes(place, names, teller, terminal.person())
    if done.outcome is None:
        raise UserError(done.words)
    if as_json:
        terminal.show_json(done.outcome)
    else:
        show_training(terminal.out, done.outcome, place.settings)
    if done.outcome.refused or done.outcome.waits:
        sys.exit(3)
