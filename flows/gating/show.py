"""A gate's decision on a terminal: the sentences, every check as a row, and each loss beside its margin."""

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from flows.gating.comparing import Compared
from flows.show import table
from models.gate_records import PROMOTE, UNDECIDED, CheckRow, GateDecision
from models.registry import ModelVersion
from monitoring.labelling.awaited import Awaited

_RESULT_STYLE = {"passed": "green", "failed": "bold red", "undecided": "yellow", "noted": "dim"}
_ORDER = {"failed": 0, "undecided": 1, "passed": 2, "noted": 3}
_STRIP, _REACH = 21, 0.10


def show_gate(
    console: Console,
    version: ModelVersion,
    decision: GateDecision,
    waits: Sequence[Awaited] = (),
    *,
    enough: bool = False,
) -> None:
    """
    What the gate said about a version, with all its checks, those that speak against it first.

    waits: What it waits for; `enough`: whether all of that has come that people could be asked for.
    """
    console.print(f"{version.title}, {version.state}: {version.reason}", style="bold", highlight=False, markup=False)
    for number, words in enumerate(decision.words()):
        console.print(f"  {words}", style="bold" if number == 0 else "", highlight=False, markup=False)
    if decision.checks:
        console.print(checks_table(decision.checks))
        console.print(
            f"  From {_points(-_REACH)} to {_points(_REACH)}: ● observed loss, ─ up to what is not ruled out, "
            "│ margin; to the left of 0 (·) the candidate is better.",
            style="dim",
            highlight=False,
        )
    for one in waits:
        console.print(f"  {one.in_words()} have come.", highlight=False, markup=False)
    if waits and enough:
        words = f"`kedge judge {version.version}` reads once more; the runner of `kedge up` does so by itself."
        console.print(words, style="bold", highlight=False)
    elif decision.outcome == UNDECIDED and version.state == "refused":
        console.print("It waits for no labels: it was refused, and `kedge retrain` makes another.", style="bold")
    elif decision.outcome == PROMOTE and version.state == "registered":
        words = f"`kedge rollout` shows whether it is on its way; `kedge rollout start {version.version}` sends it out."
        console.print(words, style="bold", highlight=False)


def checks_table(checks: Sequence[CheckRow]) -> object:
    """Every check as a row; floors have their value and its interval's lower end instead of a loss."""
    shown = table("check", "on", "group", "#images", "#loss or value", "#bound", "#allowed", "", "result")
    for check in sorted(checks, key=lambda one: (_ORDER.get(one.result, 3), one.group != "overall")):
        floor = check.name.endswith("floor")
        numbers = (f"{check.loss:.3f}" if floor else f"{check.loss:+.3f}", f"{check.bound:+.3f}", f"{check.margin:.3f}")
        result = f"{check.result}, {check.status}" if check.status != "judged" else check.result
        shown.add_row(
            check.name,
            check.scope,
            Text(check.group),
            str(check.images),
            *numbers,
            "" if floor else strip(check),
            Text(result, _RESULT_STYLE.get(check.result, "")),
        )
    return shown


def strip(check: CheckRow) -> str:
    """The loss, what is not ruled out, and the margin, on a line from ten points better to ten points worse."""
    cells = [" "] * _STRIP
    loss, bound, margin = (_cell(value) for value in (check.loss, check.bound, check.margin))
    cells[_cell(0.0)] = "·"
    for cell in range(min(loss, bound), max(loss, bound) + 1):
        cells[cell] = "─"
    cells[margin] = "│"
    cells[loss] = "●"
    return "".join(cells)


def show_compared(console: Console, compared: Compared) -> None:
    """Two versions' shares right, and where they differ."""
    shown = table("", f"#old ({compared.images_old} images)", f"#recent ({compared.images_recent} images)")
    for side in (compared.first, compared.second):
        shown.add_row(side.title, _share(side.accuracy_old), _share(side.accuracy_recent))
    console.print(shown)
    if compared.checks:
        console.print(f"Loss of {compared.first.title} against {compared.second.title}:", highlight=False)
        console.print(checks_table(compared.checks))
    console.print(
        f"This was reading {compared.readings} of the old judge images since their oldest were last replaced; "
        "it decides nothing, and each wears them a little.",
        style="dim",
        highlight=False,
    )


def _cell(share: float) -> int:
    place = (share + _REACH) / (2 * _REACH) * (_STRIP - 1)
    return min(_STRIP - 1, max(0, round(place)))


def _share(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"


def _points(share: float) -> str:
    return f"{100 * share:.0f} points"
