"""Which images an epoch shows, and how much each counts: what is done about rare classes and few new images."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from models.training.plan import TrainingPlan

_SMALL, _LARGE = 8, 64
_LARGE_ON_GPU = 256
_UPDATES_PER_EPOCH = 30  # fewer, and a short stage hardly moves the weights


def epoch_order(plan: TrainingPlan, labels: Tensor, new: Tensor, generator: torch.Generator) -> Tensor:
    """
    The numbers of the images of one epoch, as many as there are images, in a random order.

    Each image once, unless the plan balances classes or gives new images a share: then drawn with replacement.

    labels: class numbers, shape (N,). new: whether from production, shape (N,).
    """
    images = len(labels)
    balanced = plan.imbalance == "sampling"
    shared = 0 < plan.new_share < 1 and bool(new.any()) and not bool(new.all())
    if not balanced and not shared:
        return torch.randperm(images, generator=generator)
    chance = _inverse_frequency(labels) if balanced else torch.ones(images, dtype=torch.float64)
    if shared:
        for part, share in ((new, plan.new_share), (~new, 1 - plan.new_share)):
            chance[part] *= share / chance[part].sum()
    return torch.multinomial(chance, images, replacement=True, generator=generator)


def loss_weights(plan: TrainingPlan, labels: Tensor, weights: Tensor) -> Tensor:
    """Each image's weight in the loss, mean 1: its own, and its class's where the plan balances by weights."""
    if plan.imbalance != "weights":
        return weights
    balanced = weights * _inverse_frequency(labels.cpu()).to(weights)
    return balanced / balanced.mean()


def batches(order: Tensor, most: int) -> Sequence[Tensor]:
    """An order cut into pieces whose sizes differ by one at most, so that no batch is a lone image."""
    return order.tensor_split(math.ceil(len(order) / most))


def batch_images(plan: TrainingPlan, images: int, *, on_gpu: bool) -> int:
    """Images per update: the plan's, or for 0 a power of two that makes some thirty updates an epoch."""
    if plan.batch_images:
        return plan.batch_images
    wished: int = 2 ** round(math.log2(max(2, images / _UPDATES_PER_EPOCH)))
    return max(_SMALL, min(_LARGE_ON_GPU if on_gpu else _LARGE, wished))


def _inverse_frequency(labels: Tensor) -> Tensor:
    return 1.0 / torch.bincount(labels).double()[labels]
