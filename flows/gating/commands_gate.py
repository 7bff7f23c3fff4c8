"""`kedge gate`, `kedge judge` and `kedge models compare`: what the gate said, a second reading, and two versions."""

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from flows import terminal
from flows.terminal import Json

_Version = Annotated[int, typer.Argument(help="The version's number, as `kedge models` lists it.")]
_REFUSED = 3


def gate(
    version: _Version,
    picture: Annotated[
        Path | None,
        typer.Option(metavar="SVG|PNG", help="Draw each loss beside its margin into this file.", show_default=False),
    ] = None,
    as_json: Json = False,
) -> None:
    """
    Show what the gate said about a version: the decision, every check, and the labels that would decide.

    Example: kedge gate 3

    Example: kedge gate 3 --picture gate.svg
    """
    from dataclasses import asdict

    from flows.gating.awaited import awaited
    from flows.gating.show import show_gate
    from infra.errors import UserError
    from models.gate_records import GateDecision
    from models.registry import WAITING
    from monitoring.labelling.awaited import are_enough
    from monitoring.labelling.waiting import most_labels

    place = terminal.place()
    found = place.registry.version(version)
    if found.gate is None:
        raise UserError(
            f"{found.title} was never judged: it was registered without the gate, so there is no decision to show. "
            f"`kedge models compare {version} N` holds it against another version."
        )
    decision = GateDecision.from_json(found.gate)
    waits = awaited(place, found) if found.state == WAITING else ()
    if picture is not None:
        _draw(decision, picture)
    if as_json:
        waiting = [asdict(one) for one in waits]
        terminal.show_json({"version": version, "state": found.state, **decision.to_json(), "waits_for": waiting})
    else:
        show_gate(terminal.out, found, decision, waits, enough=are_enough(waits, most_labels(place.settings)))


def judge(
    version: _Version,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Also while labels are missing: it uses up the last reading.")
    ] = False,
    as_json: Json = False,
) -> None:
    """
    Judge an undecided version a second and last time, with the labels that have come since; its rollout goes on by it.

    The runner of `kedge up` does the same by itself, once the labels that it waits for have come, or its time is over.

    Example: kedge judge 3
    """
    from flows.gating.second_reading import go_on, read_again
    from flows.gating.show import show_gate

    place = terminal.place()
    done = read_again(place, version, anyway=anyway, actor=terminal.person())
    go_on(place, version)
    if as_json:
        terminal.show_json(done)
    else:
        show_gate(terminal.out, done.version, done.decision)
    if done.version.state == "refused":
        sys.exit(_REFUSED)


def compare(
    first: Annotated[int, typer.Argument(help="A version's number.")],
    second: Annotated[int, typer.Argument(help="Another's.")],
    as_json: Json = False,
) -> None:
    """
    Let two versions answer the judge images, refused ones too; it counts as a reading and decides nothing.

    Example: kedge models compare 2 3
    """
    from flows.gating.comparing import compare_versions
    from flows.gating.show import show_compared

    compared = compare_versions(terminal.place(), first, second, actor=terminal.person())
    if as_json:
        terminal.show_json(compared)
    else:
        show_compared(terminal.out, compared)


def _draw(decision: Any, picture: Path) -> None:
    from infra.errors import UserError
    from models.gate_plot import draw_forest

    if picture.suffix not in {".svg", ".png"}:
        raise UserError(f"{picture} was not drawn: expected a name that ends in .svg or .png.")
    if not draw_forest(decision, picture):
        raise UserError("Nothing was drawn: the gate compared nothing. Without --picture, its words say why.")
    terminal.out.print(f"Drawn: {picture}", highlight=False, markup=False, soft_wrap=True)
