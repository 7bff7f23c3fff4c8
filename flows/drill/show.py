"""A drill as a person reads it on a terminal."""

from rich.console import Console

from flows.drill.rehearsal import Drill
from flows.show import table

_SENT = {"canary": "to half of the callers", "promotion": "to everybody"}


def show_drill(console: Console, drill: Drill) -> None:
    """Both disasters with their times."""
    shown = table("sent", "#out after", "#bad answers", "#noticed after", "#back after", "by")
    for act in drill.acts:
        times = [f"{seconds:.2f} s" for seconds in (act.out_s, act.noticed_s, act.back_s)]
        shown.add_row(_SENT[act.name], times[0], str(act.bad_answers), times[1], times[2], act.words)
    console.print(shown)
    console.print(
        f"The way back of {drill.model} works: {drill.workers} serving worker(s), both disasters, "
        f"{drill.seconds:.0f} s in all. It is in the ledger.",
        highlight=False,
    )
