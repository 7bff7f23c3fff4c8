"""Whether a stage's frozen prefix is worth storing: measured once, decided by arithmetic, and written down."""

import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from infra.files import write_atomically

_CLEARLY = 0.85  # of the whole network's time: below that it is worth the memory and the loss of variety
_LONG_S = 2.0


@dataclass(frozen=True)
class Costs:
    """
    Seconds per training image.

    Attributes:
        whole: of one epoch through the whole network: varied, forward, backward.
        prefix: of storing one view of it: varied, forward through the frozen layers.
        suffix: of one epoch from what is stored: forward, backward.
    """

    whole: float
    prefix: float
    suffix: float


@dataclass(frozen=True)
class Choice:
    """
    Where a stage takes its batches from, and why.

    Attributes:
        stage: its name.
        stands_for: digest of what the choice depends on; another job's choice is not this one's.
        cached: from the stored prefix; else through the whole network.
        reason: one sentence for a person.
        frontier: the operation that the prefix ends with; empty where the network was not cut.
        views: stored of each training image.
        megabytes: of all that is stored.
        epochs: that the stage was expected to last.
        speedup: expected of the whole stage, storing included; 0 = not measured.
        costs: as measured; None where nothing needed measuring.
    """

    stage: str
    stands_for: str
    cached: bool
    reason: str
    frontier: str = ""
    views: int = 0
    megabytes: float = 0.0
    epochs: int = 0
    speedup: float = 0.0
    costs: Costs | None = None


def expected_speedup(costs: Costs, views: int, epochs: int) -> float:
    """How many times faster the stage is with its prefix stored: E·whole over K·prefix + E·suffix."""
    stored = views * costs.prefix + epochs * costs.suffix
    return epochs * costs.whole / stored if stored else math.inf


def pays(costs: Costs, views: int, epochs: int) -> bool:
    """Whether storing is clearly faster."""
    return expected_speedup(costs, views, epochs) * _CLEARLY > 1


def expected_epochs(costs: Costs, images: int, most: int, budget_s: float) -> int:
    """How long the stage may last: the plan's most, or what the budget allows."""
    return max(1, min(most, int(budget_s / max(costs.whole * images, 1e-9))))


def seconds_each(tasks: Sequence[Callable[[], object]], device: torch.device) -> list[float]:
    """
    What each task takes: the shorter of two runs, in turns so that a busy moment hits all alike.

    On a CPU its own time divided by its threads, which other processes do not lengthen.
    """
    first = [_seconds(task, device) for task in tasks]
    if sum(first) > _LONG_S:
        return first
    # The first run of anything is the slowest, which matters where it is short.
    return [min(each) for each in zip(first, [_seconds(task, device) for task in tasks], strict=True)]


def read_choice(run_dir: Path, stage: int, stands_for: str) -> Choice | None:
    """The choice that this job made for a stage before it was interrupted; None where there is none."""
    found = _read(run_dir).get(str(stage))
    return found if found and found.stands_for == stands_for else None


def write_choice(run_dir: Path, stage: int, choice: Choice) -> None:
    """Add a stage's choice to sources.json."""
    known = {**_read(run_dir), str(stage): choice}
    text = json.dumps({key: asdict(value) for key, value in sorted(known.items())}, indent=2)
    write_atomically(run_dir / "sources.json", text + "\n")


def read_choices(run_dir: Path) -> tuple[Choice, ...]:
    """Of all stages so far, in their order."""
    return tuple(choice for _, choice in sorted(_read(run_dir).items(), key=lambda item: int(item[0])))


def _read(run_dir: Path) -> dict[str, Choice]:
    try:
        known = json.loads((run_dir / "sources.json").read_text())
        return {key: _choice(value) for key, value in known.items()}
    except (FileNotFoundError, ValueError, TypeError, AttributeError):
        return {}


def _choice(value: dict[str, Any]) -> Choice:
    costs = value["costs"]
    return Choice(**{**value, "costs": Costs(**costs) if costs else None})


def _seconds(task: Callable[[], object], device: torch.device) -> float:
    if device.type != "cuda":
        began = time.process_time()
        task()
        return (time.process_time() - began) / torch.get_num_threads()
    torch.cuda.synchronize(device)
    began = time.perf_counter()
    task()
    torch.cuda.synchronize(device)
    return time.perf_counter() - began
