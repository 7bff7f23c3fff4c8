"""Where training stands between two epochs, and what an epoch changes about that: pure functions."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from torch import Tensor

from models.training.plan import TrainingPlan
from models.training.selection import SelectScore
from models.training.stages import Stage

_CLEARLY = 0.98
_COOL_DOWN = 4  # an early stop cools down for one epoch in so many that were run
_PLATEAU_FACTOR = 0.3
_DEEPER = 4.0  # times the seconds of the stage before: most of what is learnt, the whole network learns
_AFTER_DIVERGING = 0.2


@dataclass(frozen=True)
class StageOutcome:
    """
    How a stage ended.

    Attributes:
        macro_recall: on *select*, of the weights it hands on; 0..1.
        ended: "early" (no better for a while), "epochs" (all of them done), "budget", "fitted" (the head, in closed
            form) or "renewed" (statistics).
        source: what the batches came from: whole network, cached prefix or cached features.
    """

    name: str
    epochs: int
    macro_recall: float
    accuracy: float
    seconds: float
    ended: str
    source: str = "whole network"


@dataclass(frozen=True)
class Best:
    """The best weights so far, by the plan's metric on *select*."""

    score: SelectScore
    weights: dict[str, Tensor]


@dataclass(frozen=True)
class Standing:
    """
    Where training stands between two epochs.

    Random numbers need no keeping: each epoch draws from generators seeded by (seed, stage, epoch).

    Attributes:
        stage: being trained, from 0; the number of stages when all are done.
        epoch: epochs of it that are done.
        epochs: planned for it; 0 until its first epoch has shown how long one takes.
        step: updates so far, over all stages.
        stage_metric: the best metric seen in this stage, which may start below the best of all.
        stage_loss: the lowest loss on *select* seen in this stage.
        waited: epochs since either got better.
        cooling_from: the epoch from which the rate runs out, after an early stop; -1 while there was none.
        last_epoch: where that ends the stage; 0 while it goes on to `epochs`.
        rate_factor: what diverging and, on a plateau, waiting took off the learning rate.
        diverged: whether the loss was lost once already, in any stage.
        micro_batch: images per forward pass; 0 = the whole batch.
        seconds: of training so far, over all stages and resumptions.
        stage_seconds: of those, in this stage.
    """

    best: Best
    stage: int = 0
    epoch: int = 0
    epochs: int = 0
    step: int = 0
    stage_metric: float = -math.inf
    stage_loss: float = math.inf
    waited: int = 0
    cooling_from: int = -1
    last_epoch: int = 0
    rate_factor: float = 1.0
    diverged: bool = False
    micro_batch: int = 0
    seconds: float = 0.0
    stage_seconds: float = 0.0
    outcomes: tuple[StageOutcome, ...] = field(default_factory=tuple)


def share_s(standing: Standing, stages: Sequence[Stage], budget_minutes: float) -> float:
    """
    Seconds for this stage, of what was left when it began: the deeper a stage trains, the more it is given.

    Nothing is put by for a start from scratch, which may never come; it has what the others leave.
    """
    left = budget_minutes * 60 - (standing.seconds - standing.stage_seconds)
    this, *later = stages[standing.stage :]
    parts = [1.0, *(_DEEPER**step for step, stage in enumerate(later, start=1) if not stage.fresh)]
    return left if this.fresh else left * parts[0] / sum(parts)


def spent(standing: Standing, seconds: float) -> Standing:
    """Later by so many seconds."""
    return replace(standing, seconds=standing.seconds + seconds, stage_seconds=standing.stage_seconds + seconds)


def after_epoch(
    standing: Standing, plan: TrainingPlan, score: SelectScore, updates: int, took_s: float, stage_share_s: float
) -> Standing:
    """After one more epoch; `best` is the caller's to renew, for only he has the weights."""
    value = score.value(plan.metric)
    # Recall moves in steps of one image; a loss still falling clearly says that it is not over yet.
    better = value > standing.stage_metric or score.loss < _CLEARLY * standing.stage_loss
    waited = 0 if better else standing.waited + 1
    # The first epoch shows how many the budget allows, so that the learning rate comes down within it.
    affordable = int((stage_share_s - standing.stage_seconds) / max(took_s, 1e-9))
    epochs = standing.epochs or max(1, min(plan.most_epochs_per_stage, affordable))
    after = replace(
        spent(standing, took_s),
        epoch=standing.epoch + 1,
        epochs=epochs,
        step=standing.step + updates,
        stage_metric=max(value, standing.stage_metric),
        stage_loss=min(score.loss, standing.stage_loss),
        waited=waited,
    )
    return _cooled(after, plan)


def _cooled(standing: Standing, plan: TrainingPlan) -> Standing:
    """
    With the patience at its end the rate runs out at once, instead of being cut off high.

    On a plateau it falls first, each time half the patience is used up.
    """
    if plan.schedule == "plateau" and standing.waited and standing.waited % max(1, plan.patience_epochs // 2) == 0:
        standing = replace(standing, rate_factor=standing.rate_factor * _PLATEAU_FACTOR)
    early = standing.waited >= plan.patience_epochs and standing.epoch >= plan.least_epochs_per_stage
    if not early or standing.cooling_from >= 0:
        return standing
    last = standing.epoch + max(1, standing.epoch // _COOL_DOWN)
    return replace(standing, cooling_from=standing.epoch, last_epoch=min(standing.epochs, last))


def ended(standing: Standing, plan: TrainingPlan, stage_share_s: float) -> str:
    """Why the stage is over; empty while it is not."""
    if standing.stage_seconds >= stage_share_s or stage_share_s <= 0:
        return "budget"
    if standing.last_epoch:
        return "early" if standing.epoch >= standing.last_epoch else ""
    if not standing.epochs or standing.epoch < standing.epochs:
        return ""
    return "epochs" if standing.epochs == plan.most_epochs_per_stage else "budget"


def cooling(standing: Standing, part: float) -> float:
    """What is left of the learning rate while it runs out; part: of the present epoch, 0..1."""
    if standing.cooling_from < 0:
        return 1.0
    length = max(1, standing.last_epoch - standing.cooling_from)
    return max(0.0, 1 - (standing.epoch - standing.cooling_from + part) / length)


def next_stage(standing: Standing, stage: Stage, why: str, source: str) -> Standing:
    """At the beginning of the stage after this one."""
    score = standing.best.score
    outcome = StageOutcome(
        stage.name,
        standing.epoch,
        score.macro_recall,
        score.accuracy,
        round(standing.stage_seconds, 3),
        why,
        source,
    )
    return Standing(
        best=standing.best,
        stage=standing.stage + 1,
        step=standing.step,
        # A network that diverged once goes on gently; what a plateau took off is its stage's own.
        rate_factor=_AFTER_DIVERGING if standing.diverged else 1.0,
        diverged=standing.diverged,
        micro_batch=standing.micro_batch,
        seconds=standing.seconds,
        outcomes=(*standing.outcomes, outcome),
    )


def after_diverging(standing: Standing) -> Standing:
    """The stage once more from the best weights, at a fifth of the rate."""
    return replace(
        standing,
        epoch=0,
        epochs=0,
        waited=0,
        cooling_from=-1,
        last_epoch=0,
        stage_metric=-math.inf,
        stage_loss=math.inf,
        rate_factor=standing.rate_factor * _AFTER_DIVERGING,
        diverged=True,
    )
