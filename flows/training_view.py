"""The live view of a training job: its stages, and of the running one how far it is and how well it goes."""

import time
from collections.abc import Sequence

from rich.console import Console, ConsoleOptions, RenderResult
from rich.progress_bar import ProgressBar
from rich.table import Column, Table
from rich.text import Text

from flows.training_story import StageStory, TrainingStory, clock, metric_name, shown

_BARS = "▁▂▃▄▅▆▇█"
_MOST_BARS = 24
_BAR_WIDTH = 24
_TURNING = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"


class TrainingView:
    """The story so far; between two epochs the clock goes on by itself."""

    def __init__(self, story: TrainingStory, told_at_s: float) -> None:
        self.story, self._told_at_s = story, told_at_s

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        waited_s = max(0.0, time.monotonic() - self._told_at_s)
        *over, now = self.story.stages
        for stage in over:
            yield _over(stage)
        yield self._running(console, now, waited_s)
        yield from self._facts(now)
        for number in range(now.number + 1, self.story.planned + 1):
            yield Text(f"  · stage {number} of {self.story.planned}", "dim")
        yield self._clock_line(now, waited_s)

    def _running(self, console: Console, stage: StageStory, waited_s: float) -> Table:
        epoch, epochs = stage.last.epoch or 0, stage.last.epochs or 1
        far = Text(f"epoch {epoch} of {epochs}  ")
        far.append(f"at most {clock(max(0.0, self.story.left_s()[0] - waited_s))} to go", "dim")
        turning = _TURNING[int(10 * console.get_time()) % len(_TURNING)]
        running = Text.assemble("  ", (turning, "cyan"), " ", (stage.name, "bold"))
        # Where there is no room for all, the name of the stage is what stays.
        columns = (Column(no_wrap=True, min_width=least) for least in (running.cell_len, None, None))
        row = Table.grid(*columns, padding=(0, 1))
        row.add_row(running, ProgressBar(total=epochs, completed=epoch, width=min(_BAR_WIDTH, console.width // 4)), far)
        return row

    def _facts(self, stage: StageStory) -> list[Text]:
        line = stage.last
        best = line.best_so_far if line.best_so_far is not None else stage.best
        result = Text(f"      {metric_name(line)} ")
        result.append(shown(stage.values[-1], line), "bold")
        result.append(f"  best {shown(best, line)}  ", "green" if stage.values[-1] >= best else "")
        result.append(sparkline(stage.values), "cyan")
        how = [f"loss {line.loss:.3f}"] if line.loss is not None else []
        how += [f"rate {line.learning_rate:.1e}"] if line.learning_rate is not None else []
        how += [line.source] if line.source else []
        how += [line.device] if line.device else []
        how += [f"{line.images_per_s:,.0f} images/s"] if line.images_per_s else []
        return [result, Text("      " + " · ".join(how), "dim")]

    def _clock_line(self, stage: StageStory, waited_s: float) -> Text:
        words = f"  {clock((stage.last.seconds or 0.0) + waited_s)} gone, "
        words += f"about {clock(max(0.0, self.story.left_s()[1] - waited_s))} to go"
        if self.story.budget_minutes:
            words += f"; the budget is {self.story.budget_minutes:g} min"
        return Text(words, "dim")


def sparkline(values: Sequence[float]) -> str:
    """The newest values as little bars between their own least and most."""
    newest = values[-_MOST_BARS:]
    if not newest:
        return ""
    least, span = min(newest), max(newest) - min(newest)
    if span == 0:
        return _BARS[0] * len(newest)
    return "".join(_BARS[int((value - least) / span * (len(_BARS) - 1))] for value in newest)


def _over(stage: StageStory) -> Text:
    words = Text("  ✔ ", "green")
    words.append(stage.name, "default")
    facts = f"  {len(stage.values)} epochs, {metric_name(stage.last)} {shown(stage.best, stage.last)}"
    words.append(f"{facts}, {clock(stage.seconds)}", "dim")
    return words
