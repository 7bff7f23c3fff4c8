"""What a look at the traffic found, as a person reads it on a terminal."""

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.show import ACTION_STYLE, table
from flows.watching import Seen
from monitoring.evidence_records import DetectorEvidence


def show_seen(console: Console, seen: Seen, *, whole: bool = True) -> None:
    """One look: the verdict with its reasons, and what was new; `whole` adds the evidence and what would change it."""
    action = seen.action.replace("_", " ")
    console.print(f"[{ACTION_STYLE.get(seen.action, '')}]{action}[/]", highlight=False)
    for reason in seen.reasons:
        console.print(f"  {reason}", highlight=False, markup=False)
    for alarm in seen.alarms:
        console.print(f"  alarm: {alarm}", style="bold red", highlight=False, markup=False)
    if seen.windows:
        console.print(f"  windows closed: {', '.join(map(str, seen.windows))}", style="dim", highlight=False)
    if seen.page:
        console.print(f"  the page of window {seen.page} will be drawn", style="dim", highlight=False)
    if seen.job_id:
        console.print(f"  retrain asked for: job {seen.job_id}", style="bold", highlight=False)
    if seen.decision is not None:
        for told in seen.decision.told:
            console.print(f"  {told}", highlight=False, markup=False)
    for request in seen.answered:
        console.print(f"  request {request.id} was {request.state}", style="bold", highlight=False)
    changes = (*seen.would_change, *(seen.decision.would_change if seen.decision is not None else ()))
    if whole and changes:
        console.print("What would change it", style="bold")
        for change in changes:
            console.print(f"  {change}", highlight=False, markup=False)
    if whole and seen.detectors:
        console.print(_evidence_table(seen))


def _evidence_table(seen: Seen) -> Table:
    shown = table("lane", "detector", "#counted", "#evidence", "#its line", "", title="Evidence, log10")
    for one in seen.detectors:
        state = _detector_state(one)
        figures = f"{one.units:,}", f"{one.log10_evidence:.1f}", f"{one.log10_threshold:.1f}"
        # A detector may be named after a class, and classes are named by people: nothing of it is markup.
        shown.add_row(Text(one.lane), Text(one.detector), *figures, state)
    for lane, words in seen.lanes.items():
        if not any(one.lane == lane for one in seen.detectors):
            shown.add_row(Text(lane), "–", "", "", "", Text(words, "dim"))
    return shown


def _detector_state(one: DetectorEvidence) -> Text:
    if one.alarmed_at is not None:
        return Text("alarm", "bold red")
    return Text("quiet" if one.units else "nothing yet", "dim")
