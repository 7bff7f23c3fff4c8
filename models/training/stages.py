"""Which layer groups train when, and how fast: pure functions of the plan."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

# Head's learning rate over the stem's, whatever the number of groups between them. A hundred, as fastai has it, keeps
# the lower layers of a small network where they are: on images unlike ImageNet's 0.90 instead of 0.97 in five epochs.
SPREAD = 10.0
_RATE_WITH_BATCH_NORM, _RATE_WITHOUT = 0.008, 0.001
_CHAMPION = 0.2  # after a strong shift clearly better than 0.5 and 1; a tenth learns too slowly in few epochs
_SCRATCH = 0.5  # factor on the rate where no layer has learnt anything yet
_WARM_UP = 0.05  # share of a stage's updates
_LAST_SHARE = 0.01  # of the learning rate, at a stage's end
_COOL_DOWN = 0.2  # share of a stage's updates in which warm-up, stable, decay decays
_SURGICAL_SHARE = 3  # of the groups, one in so many lies "below": where an input-level shift is mended
_FEW_IMAGES_PER_CLASS = 10  # too few to move the whole network by


@dataclass(frozen=True)
class Stage:
    """
    A part of training with a fixed set of trainable groups.

    Attributes:
        index: from 0.
        groups: layer groups that train, ascending; all others are frozen. Empty: only statistics are renewed.
        head_only: nothing but the head trains, so its inputs can be computed once.
        rate: factor on the plan's learning rate.
        spread: the head's learning rate over the stem's.
        schedule: cosine, plateau or wsd.
        norms: the scale and shift of every normalisation layer train too.
        rung: after this stage `auto` looks whether it may stop climbing.
        fresh: begins from newly drawn weights.
    """

    index: int
    name: str
    groups: tuple[int, ...]
    head_only: bool
    rate: float
    spread: float
    schedule: str = "cosine"
    norms: bool = False
    rung: bool = False
    fresh: bool = False


@dataclass(frozen=True)
class Circumstances:
    """
    What the choice of stages depends on besides the strategy.

    Attributes:
        steps: first group of each unfreezing step, from the top down; the last is 0.
        start: "scratch", "champion", or any other word for weights of another task.
        shift: input, output, or empty where not known.
        batch_norm: whether the network keeps statistics that can be renewed without labels.
        images_per_class: of the rarest class.
    """

    groups: int
    steps: tuple[int, ...]
    start: str
    shift: str = ""
    schedule: str = "cosine"
    batch_norm: bool = False
    images_per_class: int = 1_000


def plan_stages(strategy: str, given: Circumstances) -> tuple[Stage, ...]:
    """
    The stages of a strategy, in their order.

    Weights that were never trained are not worth freezing, so from scratch there is one stage for all.
    """
    if strategy == "scratch" or given.start == "scratch":
        return _numbered([_whole(given, "whole network", _SCRATCH, spread=1.0)], given)
    stages = {
        "head": _head,
        "staged": _staged,
        "full": lambda given: [_whole(given, "whole network", _rate(given), spread=1.0)],
        "layerwise": lambda given: [_whole(given, "whole network", rate=1.0, spread=SPREAD)],
        "surgical": lambda given: [*_surgical(given), *_head(given)],
        "auto": _ladder,
    }[strategy]
    return _numbered(stages(given), given)


def learning_rate(stage: Stage, group: int, groups: int, base: float) -> float:
    """The highest learning rate of a layer group in a stage; from head to stem it falls evenly, by `spread` in all."""
    below_head = (groups - 1 - group) / max(1, groups - 1)
    share: float = stage.spread**-below_head
    return base * stage.rate * share


def automatic_rate(*, batch_norm: bool) -> float:
    """
    The highest learning rate where the plan names none.

    BatchNorm forgives large steps, and small ones leave a short training unfinished; transformers with LayerNorm
    are fine-tuned an order of magnitude lower.
    """
    return _RATE_WITH_BATCH_NORM if batch_norm else _RATE_WITHOUT


def schedule_shape(schedule: str, update: int, updates: int) -> float:
    """
    The share of the highest learning rate at one update of a stage, 0..1.

    update: from 0, of `updates`. All rise evenly over a twentieth of them. Then cosine falls as a half cosine; wsd
    (warm-up, stable, decay; Hu et al. 2024) stays and falls in the last fifth; plateau stays: what it falls by is
    decided between epochs.
    """
    rising = max(1, round(_WARM_UP * updates))
    if update < rising:
        return (update + 1) / rising
    if schedule == "plateau":
        return 1.0
    passed = min(1.0, (update - rising) / max(1, updates - rising))
    if schedule == "wsd":
        return max(_LAST_SHARE, min(1.0, (1 - passed) / _COOL_DOWN))
    return _LAST_SHARE + (1 - _LAST_SHARE) * (1 + math.cos(math.pi * passed)) / 2


def _head(given: Circumstances) -> list[Stage]:
    return [Stage(0, "head", (given.groups - 1,), head_only=True, rate=1.0, spread=SPREAD)]


def _staged(given: Circumstances) -> list[Stage]:
    return [*_head(given), *_downwards(given)]


def _downwards(given: Circumstances) -> list[Stage]:
    """From the top to the whole network, a step at a time."""
    spread = 1.0 if given.start == "champion" else SPREAD
    stages = []
    for first in given.steps:
        groups = tuple(range(first, given.groups))
        name = "whole network" if first == 0 else f"top {len(groups)} of {given.groups} groups"
        stages.append(Stage(0, name, groups, head_only=False, rate=_rate(given), spread=spread))
    return stages


def _surgical(given: Circumstances) -> list[Stage]:
    """
    First blocks and normalisation: what an input-level shift asks for (Lee et al. 2023, Surgical Fine-Tuning).

    The head trains along only where it is new.
    """
    lowest = tuple(range(max(1, given.groups // _SURGICAL_SHARE)))
    head = () if given.start == "champion" else (given.groups - 1,)
    name = f"first {len(lowest)} of {given.groups} groups and normalisation"
    stage = Stage(0, name, (*lowest, *head), head_only=False, rate=_rate(given), spread=1.0, norms=True)
    return [*(_head(given) if head else []), *_statistics(given), stage]


def _ladder(given: Circumstances) -> list[Stage]:
    """
    From the cheapest change to the dearest: statistics, head, where the shift lies, whole network, scratch.

    With few images the whole network stays as it is: it would learn them by heart.
    """
    if given.images_per_class < _FEW_IMAGES_PER_CLASS:
        rungs = [*_head(given), *_downwards(given)[:-1]]
    elif given.shift == "input":
        rungs = [*_surgical(given), *_head(given), _downwards(given)[-1]]
    else:
        rungs = [*_statistics(given), *_staged(given)]
    if given.images_per_class >= _FEW_IMAGES_PER_CLASS:
        rungs.append(replace(_whole(given, "from scratch", _SCRATCH, spread=1.0), fresh=True))
    return [replace(stage, rung=True) for stage in rungs]


def _statistics(given: Circumstances) -> list[Stage]:
    """Means and variances of BatchNorm taken anew from old and new images (AdaBN, Li et al. 2017); nothing trains."""
    if given.start != "champion" or not given.batch_norm:
        return []
    return [Stage(0, "statistics", (), head_only=False, rate=0.0, spread=1.0)]


def _whole(given: Circumstances, name: str, rate: float, spread: float) -> Stage:
    return Stage(0, name, tuple(range(given.groups)), head_only=False, rate=rate, spread=spread)


def _rate(given: Circumstances) -> float:
    # A champion has learnt this very task already; what changed is most often its input, which the lowest layers
    # must follow. Weights of another task have general layers below, worth keeping.
    return _CHAMPION if given.start == "champion" else 0.5


def _numbered(stages: Sequence[Stage], given: Circumstances) -> tuple[Stage, ...]:
    return tuple(replace(stage, index=index, schedule=given.schedule) for index, stage in enumerate(stages))
