"""The ledger as a person reads it on a terminal."""

from collections.abc import Sequence

from rich.console import Console
from rich.text import Text

from flows.history.ledger import Exported
from flows.show import table
from infra.ledger import LedgerRow
from infra.ledger_check import LedgerCheck
from monitoring.decisions.facts import in_short

_SHOWN_DIGITS, _MOST_CHARACTERS = 8, 160


def show_rows(console: Console, rows: Sequence[LedgerRow]) -> None:
    """A row a line: when, which, what, who, and its facts in short."""
    if not rows:
        console.print("The ledger is empty: nothing was decided yet.")
        return
    shown = table("at (UTC)", "row", "what", "by", "hash", "facts")
    for column in shown.columns[:-1]:
        column.no_wrap = True
    for row in rows:
        facts = Text(in_short(row.facts, _MOST_CHARACTERS), "dim")
        texts = (row.reference, row.kind, row.actor, row.hash[:_SHOWN_DIGITS])
        shown.add_row(f"{row.at:%Y-%m-%d %H:%M:%S}", *map(Text, texts), facts)
    console.print(shown)


def show_check(console: Console, found: LedgerCheck) -> None:
    """A stream a line, then what it was held against, then what does not fit."""
    shown = table("stream", "#rows", "#of them exported", "newest hash", "")
    for stream in found.streams:
        state = Text("broken", "bold red") if stream.breaks else Text("whole", "green")
        head = stream.hash[:_SHOWN_DIGITS]
        shown.add_row(Text(stream.stream), str(stream.rows), str(stream.exported_rows), head, state)
    console.print(shown)
    if found.exports:
        newest = found.exports[-1]
        several = "one export" if len(found.exports) == 1 else f"{len(found.exports)} exports"
        console.print(f"Held against {several}; the newest is {newest.title}.", highlight=False)
    else:
        console.print(
            "No export to hold it against yet: that its end was cut off could not be seen. "
            "`kedge ledger export` writes one."
        )
    if found.exports and found.exports[0].begins_anew:
        first = found.exports[0]
        console.print(f"{first.title} began anew: {first.begins_anew}", style="yellow", highlight=False, markup=False)
    if not found.breaks:
        console.print(f"The ledger is whole: {found.rows} rows.", style="green", highlight=False)


def show_exported(console: Console, done: Exported) -> None:
    """What was written, and where to."""
    made = done.export
    words = f"{made.title}: {made.rows} rows in {len(made.streams)} streams, written to {made.key} in the object store."
    console.print(words, highlight=False, markup=False, soft_wrap=True)
    for file in done.files:
        console.print(f"  and to {file}", highlight=False, markup=False, soft_wrap=True)
    console.print(f"  Its hash is {made.sha256}", style="dim", highlight=False, soft_wrap=True)
