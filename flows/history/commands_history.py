"""`kedge models`, `kedge models history` and `kedge explain`: which version answered when, and how it came to be."""

from typing import Annotated

import typer

from flows import commands_versions, terminal
from flows.terminal import Json
from infra.errors import UserError


def models(context: typer.Context, as_json: Json = False) -> None:
    """
    List every version with its state and scores.

    Example: kedge models
    """
    if context.invoked_subcommand is None:
        commands_versions.models(as_json)


def history(as_json: Json = False) -> None:
    """
    Show every champion there was, without a gap: from when until when, who or what chose it, and why.

    Example: kedge models history
    """
    from flows.history.show_history import show_timeline
    from monitoring.decisions.rows import gather
    from monitoring.decisions.timeline import timeline

    place = terminal.place()
    line = timeline(gather(place.engine, place.settings.project.name))
    if as_json:
        terminal.show_json(line)
    else:
        show_timeline(terminal.out, line)


def explain(
    identifier: Annotated[
        str, typer.Option("--id", help="A prediction's id, or the pseudonym under which it was forgotten.")
    ] = "",
    version: Annotated[
        int | None, typer.Option(help="Or a version's number: how it came to be.", show_default=False)
    ] = None,
    as_json: Json = False,
) -> None:
    """
    Tell which model gave an answer, what it was trained on, and by which decision and evidence it came to answer.

    Every step names the ledger's rows that prove it; what is missing is said to be missing.

    Example: kedge explain --id 0198f3a2-7c1e-7d53-9d0a-5b8f4f6a2c11
    """
    from flows.history.explain import explain_prediction, explain_version
    from flows.history.show_explained import show_explained

    if bool(identifier) == (version is not None):
        said = "both were named" if identifier else "neither was named"
        raise UserError(f"Nothing was explained: expected either --id PREDICTION or --version N, {said}.")
    place = terminal.place()
    explained = explain_prediction(place, identifier) if version is None else explain_version(place, version)
    if as_json:
        terminal.show_json(explained)
    else:
        show_explained(terminal.out, explained)
