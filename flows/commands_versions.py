"""`kedge models`, `promote` and `rollback`: which version answers."""

from typing import Annotated, Any

import typer

from flows import terminal
from flows.terminal import Json


def models(as_json: Json = False) -> None:
    """
    List every version with its state and scores.

    Example: kedge models
    """
    from flows.show import show_versions

    versions = terminal.place().registry.versions()
    if as_json:
        terminal.show_json([vars(version) for version in versions])
    else:
        show_versions(terminal.out, versions)


def promote(
    version: Annotated[int, typer.Argument(help="The version's number, as `kedge models` lists it.")],
    reason: Annotated[str, typer.Option(help="Why, for the ledger.")] = "by hand",
) -> None:
    """
    Make a version the champion and wait until every serving worker answers with it.

    Example: kedge promote 3 --reason "checked by Ada"
    """
    from flows.promote import promote as promote_version
    from flows.serving_place import open_serving_place

    place = open_serving_place()
    rollout = promote_version(place, version, actor=terminal.person(), reason=reason)
    _show_rollout(rollout, place.settings.project.name)


def rollback(
    reason: Annotated[str, typer.Option(help="Why, for the ledger.")] = "by hand",
) -> None:
    """
    Go back to the champion before.

    Example: kedge rollback --reason "wrong on hall 3"
    """
    from flows.promote import roll_back
    from flows.serving_place import open_serving_place

    place = open_serving_place()
    _show_rollout(roll_back(place, actor=terminal.person(), reason=reason), place.settings.project.name)


def _show_rollout(rollout: Any, name: str) -> None:
    if rollout.workers:
        who = f"{rollout.workers} serving worker(s) answer with it after {rollout.seconds:.1f} s"
    else:
        who = "nobody is serving yet"
    terminal.out.print(f"{name}:{rollout.promotion.version} is champion; {who}.", highlight=False)
