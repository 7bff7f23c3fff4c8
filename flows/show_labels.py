"""Labels and requests for them as a person reads them on a terminal."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from flows.kept_labels import KeptLabel
from flows.label_export import Exported, NextLabels
from flows.show import ago, table
from monitoring.labelling.responses import StratumResponse

_LEAST_RESPONSE = 0.8
_MOST_CLASSES = 20


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


def show_next(console: Console, found: NextLabels) -> None:
    """What waits for a label, a line and a picture each, and who has answered so far."""
    if not found.requests:
        console.print("Nothing is waiting for a label. `kedge watch` asks for labels as predictions come.")
    for one in found.requests:
        said = "" if one.answer is None else f"; the model said {one.answer}"
        sure = f" ({one.confidence:.0%} sure)" if one.answer is not None and one.confidence is not None else ""
        late = "; overdue" if one.overdue else ""
        _line(console, one.id, "bold")
        _line(console, f"  {one.why}, with probability {one.probability:.3g}{said}{sure}{late}")
        _line(console, f"  {one.picture}", "dim")
    if len(found.requests) < found.waiting:
        _line(console, f"{len(found.requests)} of {found.waiting}; --limit 0 shows all.", "dim")
    if found.responses:
        _show_responses(console, found.responses)
    if found.come:
        words = "label has" if found.come == 1 else "labels have"
        _line(console, f"{found.come} more {words} come; `kedge watch` counts them at its next look.", "dim")
    if found.gone:
        _line(console, f"{found.gone} cannot be labelled any more: their pictures have been deleted.", "yellow")
    if found.not_kept:
        words = f"Of the last seven days' predictions {found.not_kept} cannot be asked about: their pictures were "
        _line(console, f"{words}not kept (serve.keep_images).", "yellow")


def show_exported(console: Console, done: Exported, *, own_links: bool) -> None:
    """Where it lies, and what to do with it."""
    _line(console, f"{done.requests} pictures to label are in {done.file}.", "bold")
    if done.gone:
        _line(console, f"{done.gone} more were left out: their pictures have been deleted.", "yellow")
    if done.config is None:
        named = ", ".join(done.classes[:_MOST_CLASSES]) + (", …" if len(done.classes) > _MOST_CLASSES else "")
        classes = f" with one of: {named}" if named else ""
        _line(console, f"Fill in the column label{classes}. Leave it empty where you have not looked yet.")
        _line(console, "For what nobody can tell: kedge labels skip ID. What chance drew says nothing of the model's")
        _line(console, f"answer, so that it sways nobody. Then: kedge labels import {done.file}")
        if done.images is None:
            words = "With --images FOLDER the pictures are copied there, under names that programs open."
            _line(console, words, "dim")
        return
    assert done.images is not None, "tasks go with pictures"
    folder = Path(done.images).resolve()
    _line(console, f"Make a project in Label Studio whose labelling interface is {done.config}, and import the tasks.")
    if not own_links:
        _line(
            console,
            "So that it finds the pictures, start it with LABEL_STUDIO_LOCAL_FILES_SERVING_ENABLED=true and "
            f"LABEL_STUDIO_LOCAL_FILES_DOCUMENT_ROOT={folder.parent}, and add {folder} as the project's local storage.",
        )
    _line(console, "When people are done, export it there as JSON and: kedge labels import THAT-FILE")


def _show_responses(console: Console, found: Sequence[StratumResponse]) -> None:
    shown = table("asked for", "#waiting", "#answered", "#skipped", "#overdue", "#response")
    for one in found:
        rate = (
            Text("–") if one.rate is None else Text(f"{one.rate:.0%}", "yellow" if one.rate < _LEAST_RESPONSE else "")
        )
        counts = (one.waiting, one.answered, one.skipped, one.overdue)
        shown.add_row(one.stratum, *map(str, counts), rate)
    console.print(shown)
    if any(one.rate is not None and one.rate < _LEAST_RESPONSE for one in found):
        _line(console, "Below 80 % estimates carry a warning: labels that never come may be the hard ones.", "dim")


def _line(console: Console, words: str, style: str = "") -> None:
    # Soft: a path that is broken into two lines can be neither clicked nor copied.
    console.print(words, style=style, highlight=False, markup=False, soft_wrap=True)
