"""Which layer groups train when, and how fast: pure functions of the plan."""

import math
from dataclasses import dataclass

_SPREAD = 100.0  # head's learning rate over the stem's, whatever the number of groups between them
_WARM_UP = 0.05  # share of a stage's updates
_LAST_SHARE = 0.01  # of the learning rate, at a stage's end


@dataclass(frozen=True)
class Stage:
    """
    A part of training with a fixed set of trainable groups.

    Attributes:
        index: from 0.
        first_group: this group and all above it train; those below are frozen.
        head_only: nothing but the head trains, so its inputs can be computed once.
        rate: factor on the plan's learning rate.
        spread: the head's learning rate over the lowest group's.
    """

    index: int
    name: str
    first_group: int
    head_only: bool
    rate: float
    spread: float


def plan_stages(groups: int, strategy: str, start: str) -> tuple[Stage, ...]:
    """
    The stages for a network of so many layer groups, the last of which is the head.

    Weights that were never trained are not worth freezing, so from scratch there is one stage for all.
    """
    head = groups - 1
    if strategy == "scratch" or start == "scratch":
        return (Stage(0, "whole network", 0, head_only=False, rate=1.0, spread=1.0),)
    # A champion has learnt this very task already; what changed is most often its input, which the lowest layers
    # must follow. Weights of another task have general layers below, worth keeping.
    rate, spread = (1.0, 1.0) if start == "champion" else (0.5, _SPREAD)
    if strategy == "full":
        return (Stage(0, "whole network", 0, head_only=False, rate=rate, spread=spread),)
    stages = [Stage(0, "head", head, head_only=True, rate=1.0, spread=_SPREAD)]
    if strategy == "head":
        return tuple(stages)
    # Two steps however many groups, top half and all: each further one takes its epochs from the last.
    for first in sorted({head // 2, 0} - {head}, reverse=True):
        name = "whole network" if first == 0 else f"top {groups - first} of {groups} groups"
        stages.append(Stage(len(stages), name, first, head_only=False, rate=rate, spread=spread))
    return tuple(stages)


def learning_rate(stage: Stage, group: int, groups: int, update: int, updates: int, base: float) -> float:
    """
    The learning rate of a layer group at one update of a stage; 0 while the group is frozen.

    update: from 0, of `updates` in the stage. It rises evenly over a twentieth of them, then falls as a half cosine.
    """
    if group < stage.first_group:
        return 0.0
    below_head = (groups - 1 - group) / max(1, groups - 1)
    share: float = stage.spread**-below_head
    return base * stage.rate * share * _shape(update, updates)


def _shape(update: int, updates: int) -> float:
    rising = max(1, round(_WARM_UP * updates))
    if update < rising:
        return (update + 1) / rising
    passed = min(1.0, (update - rising) / max(1, updates - rising))
    return _LAST_SHARE + (1 - _LAST_SHARE) * (1 + math.cos(math.pi * passed)) / 2
