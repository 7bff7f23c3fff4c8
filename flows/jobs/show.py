"""Training jobs as a person reads them on a terminal."""

import json
from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from flows.jobs.story import JobStory, WholeStory
from flows.show import ago, table

_STYLE = {
    "done": "green",
    "running": "bold cyan",
    "failed": "bold red",
    "refused": "red",
    "undecided": "yellow",
    "cancelled": "dim",
}
_ID_END = 8
_LONG_S = 120.0


def show_jobs(console: Console, jobs: Sequence[JobStory]) -> None:
    """The newest jobs, a line each."""
    if not jobs:
        console.print("No training job yet. `kedge train` makes the first model, `kedge retrain` a successor.")
        return
    shown = table("id", "state", "kind", "asked for by", "asked", "#took", "#attempts", "what came of it")
    for column in shown.columns[:-1]:
        column.no_wrap = True
    for job in jobs:
        state = Text(job.state, _STYLE.get(job.state, ""))
        took = "–" if job.seconds is None else _duration(job.seconds)
        cells: list[str | Text] = [
            job.kind,
            Text(job.reason),
            ago(job.created_at),
            took,
            str(job.attempts),
            Text(job.words),
        ]
        # The end tells jobs apart: an id begins with the time.
        shown.add_row(f"…{job.id[-_ID_END:]}", state, *cells)
    console.print(shown)
    console.print("`kedge jobs show ID` tells more of one, `kedge jobs cancel ID` stops it.", style="dim")


def show_job(console: Console, story: WholeStory) -> None:
    """One job from its reason to what came of it."""
    job = story.job
    console.print(Text.assemble((f"{job.kind} {job.id} ", "bold"), (job.state, _STYLE.get(job.state, "bold"))))
    for words in _lines(story):
        console.print(f"  {words}", highlight=False, markup=False, soft_wrap=True)
    for row in story.ledger:
        facts = {name: value for name, value in row.facts.items() if name != "job" and value is not None}
        line = f"  jobs#{row.sequence} {row.at:%Y-%m-%d %H:%M:%S} {row.kind} {json.dumps(facts)}"
        console.print(line, style="dim", highlight=False, markup=False, soft_wrap=True)


def _lines(story: WholeStory) -> list[str]:
    job = story.job
    lines = [f"asked for by {job.reason}, {ago(job.created_at)}"]
    if job.seconds is not None:
        who = "worked on for" if job.started_at is None else f"attempt {job.attempts} on {job.host},"
        lines.append(f"{who} {_duration(job.seconds)} in all")
    if story.progress is not None:
        told = story.progress
        lines.append(f"training: {told['stage_name']}, epoch {told['epoch']} of at most {told['epochs']}")
    lines += [job.words] if job.words else []
    lines += [f"its files: {job.run_dir}"] if job.run_dir else []
    return lines


def _duration(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < _LONG_S else f"{seconds / 60:.0f} min"
