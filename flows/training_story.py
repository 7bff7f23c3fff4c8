"""What a training job has told so far, folded up stage by stage; pure, for the view and for plain lines."""

from dataclasses import dataclass, replace
from typing import Self

from flows.launcher import ProgressLine

_METRICS = {"loss": "loss on select", "least_recall": "recall of the weakest class"}


@dataclass(frozen=True)
class StageStory:
    """
    One stage that has begun.

    Attributes:
        number: From 1.
        values: Of the metric, an epoch each.
        began_s: Seconds of the job when it began; known from the job's first line on.
        last: Its newest line.
    """

    number: int
    name: str
    values: tuple[float, ...]
    began_s: float
    last: ProgressLine

    @property
    def best(self) -> float:
        """Best value of the metric in this stage."""
        return max(self.values, default=0.0)

    @property
    def seconds(self) -> float:
        """That it has taken so far."""
        return max(0.0, (self.last.seconds or 0.0) - self.began_s)


@dataclass(frozen=True)
class TrainingStory:
    """
    The stages so far, in their order; the last one runs.

    Attributes:
        budget_minutes: That training may take in all; 0 = not known.
        planned: How many stages there may be.
    """

    budget_minutes: float = 0.0
    planned: int = 0
    stages: tuple[StageStory, ...] = ()

    def begins_stage(self, line: ProgressLine) -> bool:
        """Whether the line is the first of a stage not heard of yet."""
        return line.stage is not None and line.stage + 1 not in {stage.number for stage in self.stages}

    def after(self, line: ProgressLine) -> Self:
        """The story with one more line; one without a stage and an epoch changes nothing."""
        if line.stage is None or line.epoch is None:
            return self
        number = line.stage + 1
        known = {stage.number: stage for stage in self.stages}
        before = known.get(number)
        if before is None:
            ended = [stage.last.seconds or 0.0 for stage in self.stages if stage.number < number]
            before = StageStory(number, line.stage_name or "", (), max(ended, default=0.0), line)
        # An epoch that is told again, after the job went on from a checkpoint, takes the place of its first telling.
        values = (*before.values[: line.epoch - 1], _value(line))
        known[number] = replace(before, values=values, last=line)
        planned = max(self.planned, line.stages or 0, number)
        return replace(self, planned=planned, stages=tuple(known[each] for each in sorted(known)))

    def left_s(self) -> tuple[float, float]:
        """
        Seconds to the end of the running stage, at the latest, and about how many to the end of training.

        A stage to come is taken to be as long as the running one would be, and the budget is the end of all.
        """
        if not self.stages:
            return 0.0, 60 * self.budget_minutes
        now = self.stages[-1]
        epoch, epochs, gone = now.last.epoch or 1, now.last.epochs or 1, now.last.seconds or 0.0
        one = now.seconds / epoch
        stage = now.last.eta_s if now.last.eta_s is not None else one * max(0, epochs - epoch)
        whole = stage + one * epochs * max(0, self.planned - now.number)
        if self.budget_minutes:
            budget = max(0.0, 60 * self.budget_minutes - gone)
            return min(stage, budget), min(whole, budget)
        return stage, whole

    def stages_in_words(self) -> list[str]:
        """A sentence for each stage, once they are over."""
        return [
            f"{stage.name}: {_count(len(stage.values), 'epoch')}, "
            f"{metric_name(stage.last)} up to {shown(stage.best, stage.last)}, {clock(stage.seconds)}"
            for stage in self.stages
        ]


def in_words(line: ProgressLine) -> str:
    """One epoch as a line of a log."""
    stages = f" of {line.stages}" if line.stages else ""
    parts = [f"stage {(line.stage or 0) + 1}{stages}, {line.stage_name}: epoch {line.epoch} of {line.epochs}"]
    parts.append(f"{metric_name(line)} {shown(_value(line), line)}")
    if line.best_so_far is not None:
        parts[-1] += f" (best {shown(line.best_so_far, line)})"
    if line.loss is not None:
        parts.append(f"loss {line.loss:.3f}")
    if line.learning_rate is not None:
        parts.append(f"rate {line.learning_rate:.1e}")
    if line.eta_s is not None:
        parts.append(f"at most {clock(line.eta_s)} to go in this stage")
    return ", ".join(parts)


def metric_name(line: ProgressLine) -> str:
    """What decides, as a person says it."""
    name = line.metric or "macro_recall"
    return _METRICS.get(name, name.replace("_", " "))


def shown(value: float, line: ProgressLine) -> str:
    """A value of the metric; a loss is told as what it is, and not as the number that grows as it falls."""
    return f"{abs(value) if line.metric == 'loss' else value:.3f}"


def clock(seconds: float) -> str:
    """Minutes and seconds, with hours where there are any."""
    whole = round(seconds)
    minutes = f"{whole // 60 % 60}:{whole % 60:02d}"
    return f"{whole // 3600}:{minutes:0>5}" if whole >= 3600 else minutes  # noqa: PLR2004 - seconds of an hour


def _value(line: ProgressLine) -> float:
    if line.value is not None:
        return line.value
    return line.select_macro_recall if line.select_macro_recall is not None else 0.0


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
