"""Kept labels as a person reads them on a terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from flows.kept_labels import KeptLabel
from flows.show import ago, table


def show_labels(console: Console, labels: Sequence[KeptLabel], of: int) -> None:
    """A line for each label; `of` is how many there are in all."""
    shown = table("id", "label", "by", "said", "")
    for label in labels:
        notes = [note for note, holds in (("orphan", label.orphan), ("unknown class", label.quarantined)) if holds]
        words = Text(", ".join(notes), "yellow")
        shown.add_row(Text(label.id), Text(label.label, "bold"), Text(label.labelled_by), ago(label.at), words)
    shown.columns[0].overflow = "fold"
    console.print(shown)
    if len(labels) < of:
        console.print(f"The newest {len(labels)} of {of}; --last 0 shows all.", style="dim", highlight=False)
