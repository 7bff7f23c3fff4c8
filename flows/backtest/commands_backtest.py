"""`kedge backtest`: what other ways of deciding about retrains would have come to."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from flows import terminal
from flows.terminal import Json

_POLICIES = "never,schedule,labels,drift,accuracy,kedge"


def backtest(
    policies: Annotated[
        str,
        typer.Option(
            metavar="FILE|NAMES",
            help="A TOML file with a section for each policy, or names with commas between; schedule, labels, drift "
            "and accuracy may take a number: labels=200.",
        ),
    ] = _POLICIES,
    judge: Annotated[
        str,
        typer.Option(
            help="Who lets a replayed model through: the gate, a guard against what is surely worse, or nobody."
        ),
    ] = "guard",
    since: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Only answers of this day (UTC) or later.")
    ] = None,
    model_version: Annotated[
        int | None, typer.Option(help="Whose answers; by default of the version with most labels.")
    ] = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Write backtest.json and backtest.svg there.")] = None,
    as_json: Json = False,
) -> None:
    """
    Replay the log under several policies: retrains, training minutes, accuracy over time, and which is best for less.

    A retrain of the replay fits the head anew to logged embeddings, with the labels that had come by then. Nothing is
    written to the project, and nothing that serves is touched.

    Example: kedge backtest --out backtest

    Example: kedge backtest --policies never,schedule=7,labels=200,kedge --judge gate
    """
    from flows.backtest.backtesting import Asked
    from flows.backtest.backtesting import backtest as replay
    from flows.backtest.show_backtest import show_backtest, write_backtest

    asked = Asked(policies, judge, since.replace(tzinfo=UTC) if since else None, model_version)
    say = (lambda words: None) if as_json else (lambda words: terminal.out.print(words, style="dim", highlight=False))
    report = replay(terminal.place(), asked, say)
    if as_json:
        terminal.show_json(report)
    else:
        show_backtest(terminal.out, report)
    if out is not None:
        written = write_backtest(report, out)
        if not as_json:
            terminal.out.print(f"Wrote {written[0]} and {written[1]}.", highlight=False)
