"""How long work tells a person what it is doing."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

_TELL_EVERY_S = 10.0


class Teller(Protocol):
    """Takes sentences and progress; `done` of `total` in any unit."""

    def say(self, words: str) -> None: ...
    def progress(self, what: str, done: int, total: int, words: str = "") -> None: ...


class Silent:
    """For flows that nobody watches: the log has what matters."""

    def say(self, words: str) -> None:
        pass

    def progress(self, what: str, done: int, total: int, words: str = "") -> None:
        pass


class OnTerminal:
    """Sentences above, one bar for each thing in progress below; plain lines where the output is no terminal."""

    def __init__(self, console: Console, bars: Progress) -> None:
        self.console, self.bars = console, bars
        self.tasks: dict[str, TaskID] = {}
        self.told: dict[str, float] = {}

    def say(self, words: str) -> None:
        self.console.print(words, highlight=False)

    def progress(self, what: str, done: int, total: int, words: str = "") -> None:
        if not self.console.is_terminal:
            self._tell_now_and_then(what, done, total, words)
            return
        if what not in self.tasks:
            self.tasks[what] = self.bars.add_task(what, total=total, words="")
        self.bars.update(self.tasks[what], completed=done, total=total, words=words)

    def _tell_now_and_then(self, what: str, done: int, total: int, words: str) -> None:
        """A line every few seconds of long work: a log is read, too, and silence looks like a fault."""
        now = time.monotonic()
        if now - self.told.setdefault(what, now) >= _TELL_EVERY_S:
            self.told[what] = now
            self.say(f"  {what}: {done} of {total}{', ' if words else ''}{words}")


@contextmanager
def on_terminal(console: Console) -> Iterator[OnTerminal]:
    """A teller whose bars disappear when the work is over."""
    columns = (
        TextColumn("  {task.description}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[words]}"),
    )
    # Where nobody looks, an empty line is all that would be left of the bars.
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bars:
        yield OnTerminal(console, bars)
