"""`kedge rollout`, `canary`, `shadow` and `compare`: try a version beside the champion before anybody depends on it."""

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from flows import terminal
from flows.terminal import Json

_Version = Annotated[int | None, typer.Argument(help="The version's number, as `kedge models` lists it.")]
_Stop = Annotated[bool, typer.Option("--stop", help="End what is on trial; the champion answers alone again.")]
_Reason = Annotated[str, typer.Option(help="Why, for the ledger.")]


class FirstStage(StrEnum):
    """Where a rollout may begin."""

    shadow = "shadow"
    canary = "canary"
    promoting = "promoting"


def rollout(
    context: typer.Context,
    follow: Annotated[bool, typer.Option("--follow", help="Look after it here, too, until it is over.")] = False,
    last: Annotated[int, typer.Option(help="Show so many, the newest first.")] = 5,
    as_json: Json = False,
) -> None:
    """
    Show which versions are on their way to the callers: waiting for labels, shadow, canary, everybody, probation; and
    what guards them.

    A candidate that passes the gate sets out by itself, and what disappoints comes back by itself.

    Example: kedge rollout

    Example: kedge rollout --follow
    """
    if context.invoked_subcommand is not None:
        return
    from dataclasses import asdict

    from flows.rollout.following import follow as following
    from flows.rollout.show import show_runs, words_of
    from models.rollout_runs import runs

    place = terminal.place()
    name, said = place.settings.project.name, set[str]()
    for open_runs in following(place) if follow else ():
        for run in open_runs:
            if (words := words_of(run)) not in said and not as_json:
                said.add(words)
                terminal.out.print(words, highlight=False)
    newest = runs(place.engine, name, last=last)
    if as_json:
        terminal.show_json([asdict(run) for run in newest])
    else:
        show_runs(terminal.out, newest)


def start(
    version: Annotated[int, typer.Argument(help="The version's number, as `kedge models` lists it.")],
    first: Annotated[
        FirstStage | None, typer.Option("--from", help="Begin there; by default with the first that the settings know.")
    ] = None,
    reason: _Reason = "by hand",
) -> None:
    """
    Set a version on its way to the callers: unseen, then to a few, then to all, then on probation.

    Example: kedge rollout start 3 --reason "checked by Ada"
    """
    from flows.rollout.begin import begin_rollout
    from flows.rollout.show import words_of

    stage = "" if first is None else first.value
    run = begin_rollout(terminal.place(), version, reason=reason, actor=terminal.person(), stage=stage)
    terminal.out.print(f"{words_of(run)}.", highlight=False)
    if run.is_open:
        terminal.out.print("`kedge rollout` shows how it goes on; `kedge rollout stop` ends it.", style="dim")


def stop(reason: _Reason = "by hand") -> None:
    """
    End what is on its way: nothing is on trial any more, and whoever is champion stays champion.

    Example: kedge rollout stop --reason "not before the holidays"
    """
    from flows.rollout.act import stop as stop_run
    from flows.rollout.show import words_of
    from models.rollout_runs import open_runs

    place = terminal.place()
    running = open_runs(place.engine, place.settings.project.name)
    if not running:
        terminal.out.print("No version is on its way; nothing was changed.")
    for run in running:
        ended = stop_run(place, run, actor=terminal.person(), reason=reason)
        terminal.out.print(f"{words_of(ended)}.", highlight=False)


def gallery(
    output: Annotated[Path, typer.Option(help="Where to write the HTML page.")] = Path("disagreements.html"),
) -> None:
    """
    Write a page of the images on which the shadow and the champion part.

    It shows callers' images and is kept nowhere else. The same images come first when labels are asked for.

    Example: kedge rollout gallery --output parted.html
    """
    from flows.rollout.gallery import draw_gallery

    found = draw_gallery(terminal.place(), output)
    words = f"{output}: they part on {found.parted} of {found.compared} images; {len(found.shown)} are shown."
    terminal.out.print(words, highlight=False, soft_wrap=True)


def canary(
    version: _Version = None,
    share: Annotated[float, typer.Option(help="Of the predictions, over 0 and up to 1; drawn by their ids.")] = 0.1,
    stop: _Stop = False,
    reason: _Reason = "by hand",
) -> None:
    """
    Let a version answer a share of the callers instead of the champion.

    Every worker has it when the command ends; one that refuses it ends the trial.

    Example: kedge canary 3 --share 0.1 --reason "new camera in hall 3"

    Example: kedge canary --stop
    """
    _try("canary", version, share, stop=stop, reason=reason)


def shadow(
    version: _Version = None,
    share: Annotated[float, typer.Option(help="Of the images, over 0 and up to 1.")] = 1.0,
    stop: _Stop = False,
    reason: _Reason = "by hand",
) -> None:
    """
    Let a version answer the champion's images too, after the champion and unseen by callers.

    Example: kedge shadow 3

    Example: kedge shadow --stop
    """
    _try("shadow", version, share, stop=stop, reason=reason)


def compare(as_json: Json = False) -> None:
    """
    Show how what is on trial does beside the champion: agreement, confidence, speed, and accuracy where labelled.

    Example: kedge compare --json
    """
    from flows import trials
    from flows.show_rollout import show_compared

    place = terminal.place()
    compared = trials.compare(place)
    if as_json:
        from dataclasses import asdict

        terminal.show_json([asdict(one) for one in compared])
        return
    if not compared:
        terminal.out.print(
            "Nothing is on trial. `kedge shadow VERSION` tries a version unseen, "
            "`kedge canary VERSION` on a share of the callers."
        )
    for one in compared:
        show_compared(terminal.out, one, place.settings.project.name)


def _try(alias: str, version: int | None, share: float, *, stop: bool, reason: str) -> None:
    from flows import trials
    from flows.show_rollout import show_ended, show_started

    if stop == (version is not None):
        raise typer.BadParameter(f"say either which version is to be the {alias}, or --stop")
    place = terminal.place()
    name = place.settings.project.name
    if version is not None:
        started = trials.start(place, alias, version, share=share, actor=terminal.person(), reason=reason)
        show_started(terminal.out, started, name)
        return
    ended = trials.end(place, alias, actor=terminal.person(), reason=reason)
    if ended is None:
        terminal.out.print(f"No {alias} is on trial; nothing was changed.")
    else:
        show_ended(terminal.out, ended, name)
