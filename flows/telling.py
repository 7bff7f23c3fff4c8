"""How long work tells a person what it is doing."""

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from flows.launcher import ProgressLine
from flows.training_story import TrainingStory, in_words
from flows.training_view import TrainingView

_TELL_EVERY_S = 10.0
_LOOKS_PER_S = 4


class Teller(Protocol):
    """Takes sentences, warnings, progress (`done` of `total` in any unit), and what a training job says of itself."""

    def say(self, words: str) -> None: ...
    def warn(self, words: str) -> None: ...
    def progress(self, what: str, done: int, total: int, words: str = "") -> None: ...
    def training(self, line: ProgressLine) -> None: ...
    def trained(self) -> None: ...


class Logged:
    """For flows that nobody watches: sentences and every epoch as lines of a log."""

    def __init__(self, log: "logging.Logger | logging.LoggerAdapter[logging.Logger]") -> None:
        self.log = log

    def say(self, words: str) -> None:
        self.log.info("%s", words)

    def warn(self, words: str) -> None:
        self.log.warning("%s", words)

    def progress(self, what: str, done: int, total: int, words: str = "") -> None:
        pass

    def training(self, line: ProgressLine) -> None:
        if line.words:
            self.warn(line.words)
        elif line.epoch is not None:
            self.say(in_words(line))

    def trained(self) -> None:
        pass


class OnTerminal:
    """Sentences above, training and one bar for each thing in progress below; plain lines where it is no terminal."""

    def __init__(self, console: Console, live: Live, bars: Progress, budget_minutes: float = 0.0) -> None:
        self.console, self.bars, self._live = console, bars, live
        self.tasks: dict[str, TaskID] = {}
        self.told: dict[str, float] = {}
        self._last_line = ""
        self._story = TrainingStory(budget_minutes)

    def say(self, words: str) -> None:
        # A log is read by lines; only a terminal has a width.
        self.console.print(words, highlight=False, markup=False, soft_wrap=not self.console.is_terminal)

    def warn(self, words: str) -> None:
        self.console.print(words, style="yellow", highlight=False, markup=False, soft_wrap=not self.console.is_terminal)

    def progress(self, what: str, done: int, total: int, words: str = "") -> None:
        if not self.console.is_terminal:
            line = f"  {what}: {done} of {total}{', ' if words else ''}{words}"
            # Told once, it need not be told again until something moves.
            if line != self._last_line and self._is_time(what):
                self._last_line = line
                self.say(line)
            return
        if what not in self.tasks:
            self.tasks[what] = self.bars.add_task(what, total=total, words="")
        self.bars.update(self.tasks[what], completed=done, total=total, words=words, visible=done < total)

    def training(self, line: ProgressLine) -> None:
        if line.words:
            self.warn(line.words)
            return
        begins = self._story.begins_stage(line)
        self._story = self._story.after(line)
        if self.console.is_terminal:
            self._live.update(Group(TrainingView(self._story, time.monotonic()), self.bars))
        elif self._is_time("training", at_once=begins):
            self.say(f"  {in_words(line)}")

    def trained(self) -> None:
        """Leave what the stages came to on the screen, for good."""
        if self.console.is_terminal:
            self._live.update(self.bars)
        for words in self._story.stages_in_words():
            self.say(f"  {words}")
        self._story = TrainingStory(self._story.budget_minutes)

    def _is_time(self, what: str, *, at_once: bool = False) -> bool:
        """Every few seconds of long work: a log is read, too, and silence looks like a fault."""
        now = time.monotonic()
        if not at_once and now - self.told.setdefault(what, now) < _TELL_EVERY_S:
            return False
        self.told[what] = now
        return True


@contextmanager
def on_terminal(console: Console, budget_minutes: float = 0.0) -> Iterator[OnTerminal]:
    """
    A teller whose bars disappear when the work is over.

    budget_minutes: what training may take, for the view to say how long it goes on; 0 = not known.
    """
    columns = (
        TextColumn("  {task.description}"),
        BarColumn(bar_width=28),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("[dim]{task.fields[words]}"),
    )
    bars = Progress(*columns, console=console, auto_refresh=False)
    if not console.is_terminal:
        # Where nobody looks, an empty line is all that would be left of the bars.
        yield OnTerminal(console, Live(console=console, auto_refresh=False), bars, budget_minutes)
        return
    with Live(bars, console=console, transient=True, refresh_per_second=_LOOKS_PER_S) as live:
        yield OnTerminal(console, live, bars, budget_minutes)
