"""What was collected, as a person reads it on a terminal."""

from rich.console import Console

from flows.collecting.preview import Preview
from flows.collecting.verifying import Verified
from flows.show import table

_PARTS = {
    "train": "train",
    "select": "select",
    "judge_old": "judge, from before the champion",
    "judge_recent": "judge, labelled since",
}
_MOST_CLASSES = 12


def show_preview(console: Console, preview: Preview) -> None:
    """The parts with their classes, then what would be left out and why."""
    classes = list(preview.parts["train"].classes)
    named = classes if len(classes) <= _MOST_CLASSES else []
    shown = table("part", "#images", "#from production", *(f"#{name}" for name in named), title=_title(preview))
    for name, part in preview.parts.items():
        each = [str(part.classes.get(one, 0)) for one in named]
        shown.add_row(_PARTS[name], str(part.images), str(part.production), *each)
    console.print(shown)
    fresh = f"{preview.fresh_select} of those that select were labelled since the champion's training."
    console.print(fresh, highlight=False)
    for why, count in preview.left_out.items():
        console.print(f"  {count} left out: {why}.", style="yellow", highlight=False, markup=False)
    for remark in preview.remarks:
        console.print(f"  {remark}.", style="yellow", highlight=False, markup=False)
    console.print(f"Fingerprint {preview.fingerprint[:12]}…; nothing was trained.", highlight=False)


def show_verified(console: Console, verified: Verified) -> None:
    """The result in bold, then what is missing."""
    first, *others = verified.words()
    style = "bold green" if verified.reproducible else "bold yellow"
    console.print(first, style=style, highlight=False, markup=False, soft_wrap=True)
    for words in others:
        console.print(f"  {words}", highlight=False, markup=False, soft_wrap=True)


def _title(preview: Preview) -> str:
    return f"What a retrain from {preview.champion} would use"
