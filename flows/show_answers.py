"""The service's answers as a person reads them on a terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.asking import STDIN, Row
from flows.show import table

_BAR, _EIGHTHS = 8, " ▏▎▍▌▋▊▉█"
_SURE, _UNSURE = 0.8, 0.5
_WIDE = 100  # columns from which names and ids leave room for a bar


def show_answers(console: Console, rows: Sequence[Row]) -> None:
    """A table of what was answered, the errors below it, and how to correct an answer."""
    answered = [row for row in rows if not row.code]
    if answered:
        console.print(_table(answered, with_bars=console.width >= _WIDE))
    for row in rows:
        if row.code:
            words = Text(f"{_name(row)}: {row.message} ({row.code})", "red")
            console.print(words, highlight=False, soft_wrap=True)
    if answered:
        console.print("Is one wrong? `kedge feedback ID LABEL` says what it should be.", style="dim", highlight=False)


def _table(rows: Sequence[Row], *, with_bars: bool) -> Table:
    models = list(dict.fromkeys(row.model for row in rows))
    # One model for all is said once; ids are long enough.
    shared = len(models) == 1
    title = f"{len(rows)} {'image' if len(rows) == 1 else 'images'}, answered by {models[0]}" if shared else None
    headings = ("file", "label", "#sure %", *([""] if with_bars else []), *([] if shared else ["model"]), "id")
    shown = table(*headings, title=title)
    shown.columns[0].overflow = shown.columns[1].overflow = "fold"
    for column in shown.columns[2:]:
        column.no_wrap = True
    shown.columns[-1].overflow = "fold"
    for row in rows:
        bar = (_bar(row.confidence),) if with_bars else ()
        model = () if shared else (Text(row.model),)
        sure = f"{100 * row.confidence:.1f}"
        shown.add_row(Text(_name(row)), Text(row.label, "bold"), sure, *bar, *model, Text(row.id, "dim"))
    return shown


def _bar(confidence: float) -> Text:
    eighths = round(confidence * _BAR * 8)
    full, rest = divmod(eighths, 8)
    style = "green" if confidence >= _SURE else "yellow" if confidence >= _UNSURE else "red"
    return Text((_EIGHTHS[8] * full + (_EIGHTHS[rest] if rest else "")).ljust(_BAR), style)


def _name(row: Row) -> str:
    return "standard input" if row.file == STDIN else row.file
