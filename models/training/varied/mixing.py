"""Two images in one: mixup (Zhang et al. 2018) lays one over the other, cutmix (Yun et al. 2019) pastes in a part."""

import numpy as np
import torch
from torch import Tensor

from models.training.varied.image_changes import rectangles

_SEEDS = 2**62


def mix(
    images: Tensor, generator: torch.Generator, mixup: float, cutmix: float
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    """
    Every image mixed with another of its batch, by a share of its own; reproducible from the generator (of the CPU).

    The labels' loss is share·CE(own) + (1 − share)·CE(partner's); nothing else smooths them.
    Where both are asked for, each batch gets one or the other by chance. A single image stays as it is.

    images: float (N, C, H, W), N odd or even.
    mixup, cutmix: both parameters of the Beta distribution that the share is drawn from, 0 = off.
    Returns the mixed images, the partner's position (N,) and the share (N,) of the own label; None twice if none mixed.
    """
    count = len(images)
    if count < 2 or not (mixup or cutmix):  # noqa: PLR2004 - it takes two to mix
        return images, None, None
    pasted = bool(cutmix) and (not mixup or bool(torch.rand(1, generator=generator) < 0.5))  # noqa: PLR2004 - one in two
    partner = _partners(count, generator).to(images.device)
    share = _shares(count, cutmix if pasted else mixup, generator)
    if pasted:
        return _pasted(images, partner, share, generator)
    share = share.to(images.device)
    return torch.lerp(images[partner], images, share.view(-1, 1, 1, 1).to(images.dtype)), partner, share


def _pasted(
    images: Tensor, partner: Tensor, share: Tensor, generator: torch.Generator
) -> tuple[Tensor, Tensor, Tensor]:
    """A rectangle of the partner's in each image; the share becomes what is really left of the own image."""
    high, wide = images.shape[-2:]
    part = torch.sqrt(1 - share)
    height, width = (part * high).long(), (part * wide).long()
    # The middle falls anywhere, so that a part of the rectangle may be cut off: hence the correction of the share.
    top, left = (
        torch.randint(length, (len(images),), generator=generator) - size // 2
        for length, size in ((high, height), (wide, width))
    )
    top, left, height, width = (value.to(images.device) for value in (top, left, height, width))
    inside = rectangles(top, left, height, width, (high, wide))
    mixed = torch.where(inside.unsqueeze(1), images[partner], images)
    return mixed, partner, 1 - inside.float().mean(dim=(1, 2))


def _partners(count: int, generator: torch.Generator) -> Tensor:
    """Everybody's partner, nobody their own: the next one in a ring of random order."""
    ring = torch.randperm(count, generator=generator)
    return torch.empty_like(ring).scatter_(0, ring, ring.roll(-1))


def _shares(count: int, alpha: float, generator: torch.Generator) -> Tensor:
    # torch draws from Beta with its global generator only.
    seed = int(torch.randint(_SEEDS, (1,), generator=generator))
    return torch.from_numpy(np.random.default_rng(seed).beta(alpha, alpha, count).astype(np.float32))
