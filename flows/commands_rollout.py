"""`kedge canary`, `shadow` and `compare`: try a version beside the champion before anybody depends on it."""

from typing import Annotated

import typer

from flows import terminal
from flows.terminal import Json

_Version = Annotated[int | None, typer.Argument(help="The version's number, as `kedge models` lists it.")]
_Stop = Annotated[bool, typer.Option("--stop", help="End what is on trial; the champion answers alone again.")]
_Reason = Annotated[str, typer.Option(help="Why, for the ledger.")]


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
