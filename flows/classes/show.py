"""Classes on a terminal: those the champion answers, and those that wait."""

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from flows.classes.quarantine import ClassCount
from flows.show import table


def show_classes(console: Console, counts: Sequence[ClassCount]) -> None:
    """Every class with its images by role, and what comes next."""
    shown = table("class", "#labels", "#train", "#select", "#judge", "")
    for one in counts:
        state = Text("champion") if one.known else Text(_waiting(one), "yellow")
        shown.add_row(Text(one.name), *(str(count) for count in (one.labels, one.train, one.select, one.judge)), state)
    console.print(shown)
    ready = [one.name for one in counts if not one.known and not one.lacks]
    if ready:
        words = f"`kedge classes add {ready[0]}` trains a candidate that knows it; answers change when it is promoted."
        console.print(words, highlight=False, markup=False)


def _waiting(one: ClassCount) -> str:
    return f"in quarantine; lacks {one.lacks}" if one.lacks else "in quarantine, ready"
