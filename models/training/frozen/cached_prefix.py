"""A stage on stored activations: the frozen prefix has run once, only the suffix runs in every epoch."""

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from models.training.frozen.prefix_cache import Shelf, digest_of, fill, fingerprints, key_of
from models.training.plan import TrainingPlan
from models.training.precision import autocast, in_bf16
from models.training.varied.augmentation import PRESETS
from models.training.whole_network import Forward, LabelledPixels, WholeNetwork, pieces

_ON_DISK = 4.0  # times what a stage may hold in memory: several stages, and those of the last retrains
_MOST_OF_A_GPU = 0.5  # of its free memory


@dataclass(frozen=True)
class Encoder:
    """
    The frozen layers as a function, with all that decides what they give.

    Attributes:
        forward: images (N, 3, S, S) to activations (N, …).
        frontier: where it ends, for people.
        code: what it computes, where the weights alone do not say.
        weights: digest of every tensor that it reads.
        shape: of one image's activations.
        dtype: as `forward` gives them.
        innermost: whether channels come last in memory: (N, C, H, W) is then kept as (N, H, W, C).
    """

    forward: Callable[[Tensor], Tensor]
    frontier: str
    code: str
    weights: str
    shape: tuple[int, ...]
    dtype: torch.dtype
    innermost: bool


@dataclass(frozen=True)
class Parts:
    """A network in two parts; the suffix takes the encoder's activations and gives logits (N, C)."""

    encoder: Encoder
    suffix: Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Activations:
    """
    What an encoder gave for images.

    Attributes:
        kept: shape (K, N, …), K views of every image; in pinned memory, or on the device where they fit.
        encoder: that made them.
        device: that needs them.
    """

    kept: Tensor
    encoder: Encoder
    device: torch.device

    def taken(self, view: Tensor | int, numbers: Tensor | slice) -> Tensor:
        """Of some images, as the encoder gave them; a copy, so that it may be changed in place."""
        where = self.kept.device
        if isinstance(view, Tensor) and isinstance(numbers, Tensor):
            chosen = self.kept[view.to(where), numbers.to(where)]
        else:
            chosen = self.kept[view, numbers].clone()
        chosen = chosen.to(self.device, non_blocking=True).to(self.encoder.dtype)
        return chosen.permute(0, 3, 1, 2) if self.encoder.innermost else chosen


@dataclass(frozen=True)
class CachedPrefix:
    """
    Stored activations through the rest of the network.

    Attributes:
        suffix: activations (N, …) to logits (N, C).
        views: of the training images: each as it is, and K - 1 times augmented.
        select: a single view.
    """

    model: nn.Module
    suffix: Callable[[Tensor], Tensor]
    views: Activations
    select: Activations

    def train_forward(self, numbers: Tensor, generator: torch.Generator) -> Forward:
        view = torch.randint(len(self.views.kept), (len(numbers),), generator=generator)
        return Forward(self.suffix(self.views.taken(view, numbers)))

    def select_logits(self) -> Tensor:
        self.model.eval()
        parts = pieces(self.select.kept.shape[1], self.select.device)
        with torch.no_grad():
            return torch.cat([self.suffix(self.select.taken(0, numbers)) for numbers in parts])


def encoder_of(
    network: WholeNetwork, forward: Callable[[Tensor], Tensor], weights: Mapping[str, Tensor], frontier: str, code: str
) -> Encoder:
    """The encoder, after a look at what it gives for two images."""
    network.model.eval()
    with torch.no_grad(), autocast(network.plan, network.device):
        probe = forward(network.plain(network.train, slice(0, 2)))
    innermost = probe.ndim == 4 and not probe.is_contiguous()  # noqa: PLR2004 - images of features
    shape = tuple(probe.permute(0, 2, 3, 1).shape[1:] if innermost else probe.shape[1:])
    return Encoder(forward, frontier, code, digest_of(weights), shape, probe.dtype, innermost)


def megabytes(encoder: Encoder, network: WholeNetwork, views: int) -> float:
    """Of all activations, of training images in so many views and of *select*."""
    images = views * len(network.train) + len(network.select)
    return images * int(np.prod(encoder.shape)) * _kept_as(network).itemsize / 1e6


def fitting(network: WholeNetwork, encoder: Encoder, wanted: int) -> int:
    """As many views as fit into the plan's memory, at least half of those wanted; else 0."""
    least = math.ceil(wanted / 2)
    fitting = (
        views for views in range(wanted, least - 1, -1) if megabytes(encoder, network, views) <= network.plan.cache_mb
    )
    return next(fitting, 0)


def encoded(network: WholeNetwork, encoder: Encoder, views: int, run_dir: Path, seed: int) -> tuple[Activations, ...]:
    """
    Of the training images, in so many views, and of *select*: from earlier jobs where these had the same layers and
    images, else computed now.

    An augmented view is kept as it was drawn when its image first came.
    """
    shelf = shelf_of(network.plan, run_dir)
    train = fingerprints(network.train.pixels, network.train.rows.tolist())
    kept = torch.empty((views, len(train), *encoder.shape), dtype=_kept_as(network))
    for view in range(views):
        key = key_of(_circumstances(network, encoder, view, seed))
        fill(kept[view], shelf, key, train, partial(_varied, network, encoder, view, seed))
    images = network.select
    select = torch.empty((1, len(images), *encoder.shape), dtype=_kept_as(network))
    key = key_of(_circumstances(network, encoder, 0, seed))
    rows = fingerprints(images.pixels, images.rows.tolist())
    fill(select[0], shelf, key, rows, partial(_plain, network, encoder, images))
    device = network.device
    return tuple(Activations(_placed(each, device), encoder, device) for each in (kept, select))


def shelf_of(plan: TrainingPlan, run_dir: Path) -> Shelf:
    """Where activations of this job are kept on disk."""
    folder = Path(plan.features_dir) if plan.features_dir else run_dir / "features"
    return Shelf(folder, _ON_DISK * plan.cache_mb)


def _varied(network: WholeNetwork, encoder: Encoder, view: int, seed: int, missing: Sequence[int]) -> Iterator[Tensor]:
    if view == 0:
        yield from _plain(network, encoder, network.train, missing)
        return
    generator = torch.Generator().manual_seed((seed * 1_009 + view) % 2**62)
    for numbers in pieces(len(missing), network.device):
        yield _forward(network, encoder, network.varied(np.asarray(missing[numbers]), generator))


def _plain(network: WholeNetwork, encoder: Encoder, images: LabelledPixels, missing: Sequence[int]) -> Iterator[Tensor]:
    for numbers in pieces(len(missing), network.device):
        yield _forward(network, encoder, network.plain(images, np.asarray(missing[numbers])))


def _forward(network: WholeNetwork, encoder: Encoder, images: Tensor) -> Tensor:
    network.model.eval()
    with torch.no_grad(), autocast(network.plan, network.device):
        activations = encoder.forward(images)
    return activations.permute(0, 2, 3, 1) if encoder.innermost else activations


def _circumstances(network: WholeNetwork, encoder: Encoder, view: int, seed: int) -> dict[str, Any]:
    """What decides the activations of an image besides the weights; how it is varied matters to varied views only."""
    plan = network.plan
    varied = {"augmentation": str(PRESETS[plan.augmentation]), "flip": plan.flip, "seed": seed, "view": view}
    return {
        "layers": encoder.code,
        "weights": encoder.weights,
        "backbone": plan.backbone,
        "options": dict(plan.options),
        "preprocessing": network.preprocessing.to_json(),
        "device": network.device.type,
        "bf16": in_bf16(network.plan, network.device),
        "kept as": str(_kept_as(network)),
        "varied": varied if view else {},
    }


def _kept_as(network: WholeNetwork) -> torch.dtype:
    """Activations that were computed in bf16 are not worth four bytes."""
    return torch.bfloat16 if in_bf16(network.plan, network.device) else torch.float32


def _placed(kept: Tensor, device: torch.device) -> Tensor:
    """On the device where they fit, else where it can fetch them from."""
    if device.type != "cuda":
        return kept
    free, _ = torch.cuda.mem_get_info(device)
    return kept.to(device) if kept.nbytes <= _MOST_OF_A_GPU * free else kept.pin_memory()
