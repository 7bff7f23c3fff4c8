"""One epoch of one stage: its images in batches, an update of the weights for each, then a look at *select*."""

import math
import time
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.parallel import DistributedDataParallel

from models.layer_groups import LayerGroup
from models.training import sampling
from models.training.averaging import RunningMean
from models.training.distributed import Ranks
from models.training.freezing import assert_frozen, set_mode
from models.training.plan import TrainingPlan
from models.training.precision import autocast, to_float
from models.training.selection import SelectScore, select_score
from models.training.stages import Stage, learning_rate, schedule_shape
from models.training.standing import Standing, cooling
from models.training.whole_network import Forward, Source

_LOOK_EVERY = 10  # updates between two looks at the loss: each look makes a GPU wait


class Diverged(Exception):
    """The loss is no longer a number."""


@dataclass(frozen=True)
class Workbench:
    """
    What all stages of a job share.

    Attributes:
        labels: of the training images, class numbers, shape (N,).
        weights: of their loss, mean 1, shape (N,).
        new: whether they come from production, shape (N,), on the CPU.
        select_labels: shape (M,).
        anchors: the weights it started from, by name; empty where nothing pulls towards them.
        rate: the highest learning rate, of the head.
        head_factor: on the head's learning rate.
    """

    plan: TrainingPlan
    model: nn.Module
    groups: tuple[LayerGroup, ...]
    optimizer: torch.optim.AdamW
    device: torch.device
    ranks: Ranks
    labels: Tensor
    weights: Tensor
    new: Tensor
    select_labels: Tensor
    anchors: dict[str, Tensor]
    mean: RunningMean | None
    batch_images: int
    rate: float
    head_factor: float = 1.0


@dataclass(frozen=True)
class EpochOutcome:
    """
    Attributes:
        loss: mean over the epoch's images.
        updates: of the weights, in this epoch.
        learning_rate: of the head, at the end.
        averaged: whether `select` is of the running mean of the weights, being the better.
        images_per_s: of training, without the look at *select*.
    """

    loss: float
    updates: int
    learning_rate: float
    select: SelectScore
    averaged: bool
    images_per_s: float


def run_epoch(bench: Workbench, stage: Stage, source: Source, forward: nn.Module, standing: Standing) -> EpochOutcome:
    """
    Train one epoch and score the weights on *select*.

    Everything random is drawn from (seed, stage, epoch), so an epoch that is run again after an interruption is the
    same epoch.

    forward: what the source calls: the network, or its wrapping for several processes.

    Raises:
        Diverged: the loss is no longer a number.
    """
    plan = bench.plan
    seed = seed_of(plan.seed, stage.index, standing.epoch)
    torch.manual_seed(seed + bench.ranks.rank)  # dropout inside the network
    generator = torch.Generator().manual_seed(seed)
    order = sampling.epoch_order(plan, bench.labels.cpu(), bench.new, generator)
    batches = sampling.batches(order, max(bench.batch_images, 2 * bench.ranks.size))
    # Each process varies its own images; what comes before must be drawn alike in all.
    generator = torch.Generator().manual_seed(seed + 1 + bench.ranks.rank)
    set_mode(bench.model, bench.batch_images // bench.ranks.size)
    began = time.monotonic()
    loss, rate = _updates(bench, stage, source, forward, standing, batches, generator)
    took = time.monotonic() - began
    score, averaged = _score(bench, source)
    return EpochOutcome(loss, len(batches), rate, score, averaged, len(order) / max(took, 1e-9))


def seed_of(seed: int, stage: int, epoch: int) -> int:
    """Different for every epoch of every stage; epoch -1 prepares the stage."""
    return (seed * 1_000_003 + stage * 10_007 + 97 * (epoch + 1)) % 2**62


def score_now(bench: Workbench, source: Source) -> SelectScore:
    """The present weights on *select*; of several processes the first looks for all."""

    def look() -> SelectScore:
        with autocast(bench.plan, bench.device):
            return select_score(to_float(source.select_logits()), bench.select_labels)

    return bench.ranks.told(look)


def _updates(
    bench: Workbench,
    stage: Stage,
    source: Source,
    forward: nn.Module,
    standing: Standing,
    batches: Sequence[Tensor],
    generator: torch.Generator,
) -> tuple[float, float]:
    """Mean loss and the head's last learning rate."""
    trained = [parameter for parameter in bench.model.parameters() if parameter.requires_grad]
    total, rate, images = torch.zeros((), device=bench.device), 0.0, 0
    for number, batch in enumerate(batches):
        rate = _set_rates(bench, stage, standing, number, len(batches))
        bench.optimizer.zero_grad(set_to_none=True)
        total += _gradients(bench, source, forward, batch, standing.micro_batch, generator)
        images += len(batch)
        if number == 0:
            assert_frozen(bench.model)
        if (number % _LOOK_EVERY == 0 or number == len(batches) - 1) and not math.isfinite(
            bench.ranks.summed(total).item()
        ):
            raise Diverged
        _pull_back(bench)
        if bench.plan.clip_norm:
            nn.utils.clip_grad_norm_(trained, bench.plan.clip_norm)
        bench.optimizer.step()
        if bench.mean:
            bench.mean.take_in(bench.model)
    return bench.ranks.summed(total).item() / bench.ranks.size / images, rate


def _gradients(
    bench: Workbench, source: Source, forward: nn.Module, batch: Tensor, micro_batch: int, generator: torch.Generator
) -> Tensor:
    """Gradients of one batch, summed over its pieces; gives the batch's loss, summed over this process's images."""
    mine = bench.ranks.share(batch)
    pieces = sampling.batches(mine, micro_batch or len(mine))
    total = torch.zeros((), device=bench.device)
    for number, piece in enumerate(pieces):
        with _together(forward, last=number == len(pieces) - 1):
            with autocast(bench.plan, bench.device):
                answer = source.train_forward(piece, generator)
            loss = _losses(bench, answer, piece).sum()
            # Processes average their gradients: times their number it is the mean over the whole batch.
            (loss * bench.ranks.size / len(batch)).backward()  # type: ignore[no-untyped-call]
        total += loss.detach()
    return total * len(batch) / len(mine)


def _together(forward: nn.Module, *, last: bool) -> AbstractContextManager[None]:
    """Several processes exchange their gradients once, after the last piece."""
    if isinstance(forward, DistributedDataParallel) and not last:
        return forward.no_sync()
    return nullcontext()


def _losses(bench: Workbench, answer: Forward, piece: Tensor) -> Tensor:
    """Cross-entropy of each image, weighted; of both labels where two images were mixed."""
    numbers = piece.to(bench.device)
    labels, weights = bench.labels[numbers], bench.weights[numbers]
    logits, smoothing = to_float(answer.logits), bench.plan.label_smoothing
    losses = functional.cross_entropy(logits, labels, reduction="none", label_smoothing=smoothing) * weights
    if answer.partner is None or answer.share is None:
        return losses
    others, share = answer.partner.to(bench.device), answer.share.to(bench.device)
    mixed_in = functional.cross_entropy(logits, labels[others], reduction="none", label_smoothing=smoothing)
    return share * losses + (1 - share) * mixed_in * weights[others]


def _pull_back(bench: Workbench) -> None:
    """L2-SP: towards the weights it started from, the head excepted (Li et al. 2018, equation 2)."""
    if not bench.plan.l2_sp:
        return
    with torch.no_grad():
        for name, parameter in bench.model.named_parameters():
            if parameter.grad is not None and name in bench.anchors:
                parameter.grad.add_(parameter - bench.anchors[name], alpha=bench.plan.l2_sp)


def _set_rates(bench: Workbench, stage: Stage, standing: Standing, number: int, of: int) -> float:
    """The learning rate of every layer group for one update; gives the head's."""
    epochs = standing.epochs or bench.plan.most_epochs_per_stage
    now = schedule_shape(stage.schedule, standing.epoch * of + number, epochs * of)
    now *= standing.rate_factor * cooling(standing, number / of)
    groups, rate = len(bench.groups), 0.0
    for entry in bench.optimizer.param_groups:
        group = entry["layer_group"]
        rate = now * learning_rate(stage, group, groups, bench.rate)
        rate *= bench.head_factor if group == groups - 1 else 1.0
        entry["lr"] = rate
    return rate  # the head's group is the last


def _score(bench: Workbench, source: Source) -> tuple[SelectScore, bool]:
    """The better of the weights and their running mean."""
    own = score_now(bench, source)
    if not bench.mean:
        return own, False
    with bench.mean.in_place(bench.model):
        averaged = score_now(bench, source)
    return (averaged, True) if averaged.better_than(own, bench.plan.metric) else (own, False)
