"""One epoch of one stage: every training image once, then a look at *select*."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from infra.errors import UserError
from models.backbone import LayerGroup
from models.training.freezing import assert_frozen, set_mode
from models.training.plan import TrainingPlan
from models.training.selection import SelectScore, select_score
from models.training.sources import LabelledPixels, Source
from models.training.stages import Stage, learning_rate

_MOST_GRADIENT_NORM = 1.0


@dataclass(frozen=True)
class Workbench:
    """What all stages of a job share; head_factor multiplies the head's learning rate."""

    plan: TrainingPlan
    model: nn.Module
    groups: tuple[LayerGroup, ...]
    optimizer: torch.optim.AdamW
    train: LabelledPixels
    select: LabelledPixels
    head_factor: float = 1.0


@dataclass(frozen=True)
class EpochOutcome:
    """
    Attributes:
        loss: mean over the training images.
        updates: of the weights, in this epoch.
        learning_rate: of the head, at the end.
    """

    loss: float
    updates: int
    learning_rate: float
    select: SelectScore


def run_epoch(bench: Workbench, stage: Stage, source: Source, epoch: int, epochs: int) -> EpochOutcome:
    """
    Train one epoch and score the weights on *select*.

    epoch: from 0, of `epochs`. Everything random is drawn from (seed, stage, epoch), so an epoch that is run
    again after an interruption is the same epoch.

    Raises:
        UserError: the loss is no longer a number.
    """
    plan = bench.plan
    seed = seed_of(plan.seed, stage.index, epoch)
    torch.manual_seed(seed)  # dropout inside the network
    generator = torch.Generator().manual_seed(seed)
    batches = _batches(len(bench.train), plan.batch_images, generator)
    set_mode(bench.model, plan.batch_images)
    total, rate = 0.0, 0.0
    for number, batch in enumerate(batches):
        rate = _set_rates(bench, stage, epoch * len(batches) + number, epochs * len(batches))
        loss = _update(bench, source.train_logits(batch, generator), batch)
        if not math.isfinite(loss):
            raise UserError(
                f"the loss became {loss} in stage {stage.name!r}, epoch {epoch + 1}: training has diverged; "
                f"lower train.learning_rate (now {plan.learning_rate:g})"
            )
        total += loss * len(batch)
    return EpochOutcome(
        loss=total / len(bench.train),
        updates=len(batches),
        learning_rate=rate,
        select=select_score(source.select_logits(), bench.select.labels),
    )


def seed_of(seed: int, stage: int, epoch: int) -> int:
    """Different for every epoch of every stage; epoch -1 prepares the stage."""
    return (seed * 1_000_003 + stage * 10_007 + epoch + 1) % 2**63


def _batches(images: int, most: int, generator: torch.Generator) -> Sequence[Tensor]:
    """A random order cut into pieces whose sizes differ by one at most, so that no batch is a lone image."""
    return torch.randperm(images, generator=generator).tensor_split(math.ceil(images / most))


def _set_rates(bench: Workbench, stage: Stage, update: int, updates: int) -> float:
    groups = len(bench.groups)
    rate = 0.0
    for entry in bench.optimizer.param_groups:
        group = entry["layer_group"]
        rate = learning_rate(stage, group, groups, update, updates, bench.plan.learning_rate)
        rate *= bench.head_factor if group == groups - 1 else 1.0
        entry["lr"] = rate
    return rate  # the head's group is the last


def _update(bench: Workbench, logits: Tensor, batch: Tensor) -> float:
    bench.optimizer.zero_grad(set_to_none=True)
    numbers = batch.to(logits.device)
    losses = functional.cross_entropy(logits, bench.train.labels[numbers], reduction="none")
    loss = (losses * bench.train.weights[numbers]).mean()
    loss.backward()  # type: ignore[no-untyped-call]
    assert_frozen(bench.model)
    trainable = [parameter for parameter in bench.model.parameters() if parameter.requires_grad]
    nn.utils.clip_grad_norm_(trainable, _MOST_GRADIENT_NORM)
    bench.optimizer.step()
    return loss.item()
