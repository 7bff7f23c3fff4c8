"""Rollouts as a person reads them on a terminal."""

from typing import Any

from rich.console import Console
from rich.text import Text

from flows.show import ago, table
from models.registry import title_of
from models.rollout_runs import DONE, EXPIRED, PROBATION, ROLLED_BACK, STOPPED, RolloutRun

_STYLE = {DONE: "green", PROBATION: "cyan", STOPPED: "red", ROLLED_BACK: "bold red", EXPIRED: "yellow"}
_WORDS = {ROLLED_BACK: "rolled back", EXPIRED: "given up"}


def show_runs(console: Console, runs: tuple[RolloutRun, ...]) -> None:
    """What is under way with what its guards see, and what was before."""
    if not runs:
        console.print(
            "No version is on its way, and none has been. A retrain that passes the gate sets out by itself; "
            "`kedge rollout start VERSION` sets out another."
        )
        return
    shown = table("#rollout", "version", "stage", "since", "job", "words")
    for column in shown.columns[:-1]:
        column.no_wrap = True
    for run in runs:
        stage = Text(_WORDS.get(run.stage, run.stage), _STYLE.get(run.stage, "bold"))
        job = (run.job_id or "by hand").rpartition("-")[2]
        shown.add_row(
            str(run.sequence), title_of(run.name, run.version), stage, ago(run.stage_since), job, Text(run.words)
        )
    console.print(shown)
    for run in runs:
        if run.is_open:
            _show_guards(console, run)


def words_of(run: RolloutRun) -> str:
    """One run in a line."""
    return f"{title_of(run.name, run.version)} {_WORDS.get(run.stage, run.stage)}: {run.words}"


def _show_guards(console: Console, run: RolloutRun) -> None:
    seen = run.facts.seen.get("trial") or run.facts.seen.get("probation")
    guards: list[dict[str, Any]] = list(seen["guards"]) if seen else []
    if not guards:
        return
    shown = table("guard", "#values", "#mean", "#tolerated", "#evidence", "#trips at", title=f"rollout {run.sequence}")
    for guard in guards:
        mean = "–" if guard["mean"] is None else f"{guard['mean']:.3f}"
        evidence, limit = f"10^{guard['log10_evidence']:.1f}", f"10^{guard['log10_limit']:.1f}"
        shown.add_row(guard["name"], str(guard["units"]), mean, f"{guard['tolerated']:.3f}", evidence, limit)
    console.print(shown)
