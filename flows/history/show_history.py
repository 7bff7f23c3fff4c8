"""The line of champions as a person reads it on a terminal."""

from datetime import datetime

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from monitoring.decisions.records import Proof, Reign, Timeline, Trial

_HOW_STYLE = {"promoted": "green", "rolled back": "bold red", "put back": "yellow"}


def show_timeline(console: Console, line: Timeline) -> None:
    """Each champion with when, who and why, and the trials that began beside it; then what does not fit."""
    if not line.reigns:
        console.print("There has been no champion yet. `kedge train` makes the first model.")
    for trial in line.before:
        _show_trial(console, trial)
    for one in line.reigns:
        _show_reign(console, one)
        for trial in one.trials:
            _show_trial(console, trial)
    for problem in line.problems:
        console.print(Text(problem, "yellow"))


def moment(at: datetime) -> str:
    """To the second, UTC."""
    return f"{at:%Y-%m-%d %H:%M:%S}"


def _show_reign(console: Console, one: Reign) -> None:
    text = Text(f"{moment(one.since)} to {_end(one.until):<19}  ")
    text.append(f"version {one.version}", "bold").append(" ")
    text.append(one.how, _HOW_STYLE.get(one.how, "yellow")).append(f" by {one.actor}")
    text.append(f"; the gate said {one.decision}" if one.decision else "; the gate had not judged it")
    console.print(_with_proofs(text, one.proofs))
    console.print(Padding(Text(one.reason), (0, 0, 0, 4), expand=False))


def _show_trial(console: Console, trial: Trial) -> None:
    words = f"{moment(trial.since)} to {_end(trial.until)}: version {trial.version} was {trial.alias} "
    words += f"for {100 * trial.share:g} % by {trial.actor} ({trial.reason})"
    console.print(Padding(_with_proofs(Text(words, "dim"), trial.proofs), (0, 0, 0, 4), expand=False))


def _with_proofs(text: Text, proofs: tuple[Proof, ...]) -> Text:
    if not proofs:
        return text.append("  not in the ledger", "yellow")
    return text.append(f"  [{', '.join(one.words for one in proofs)}]", "dim")


def _end(until: datetime | None) -> str:
    return "now" if until is None else moment(until)
