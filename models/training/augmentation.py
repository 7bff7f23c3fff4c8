"""Images varied afresh each time they are seen: whole batches at once, on whatever device holds them."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Augmentation:
    """
    How far an image may be moved from itself; every amount is drawn evenly from minus to plus.

    Attributes:
        rotation: degrees.
        scale: of the size, 0.1 = a tenth smaller to a tenth larger.
        shift: of the side.
        brightness: of the full range of a pixel.
        contrast: factor, 0.2 = 0.8 to 1.2.
        noise: largest standard deviation, of the full range of a pixel.
        blurred: share of the images that are blurred a little.
    """

    rotation: float
    scale: float
    shift: float
    brightness: float
    contrast: float
    noise: float
    blurred: float


PRESETS = {
    "none": None,
    "light": Augmentation(rotation=15, scale=0.1, shift=0.06, brightness=0.1, contrast=0.2, noise=0.04, blurred=0.3),
    "strong": Augmentation(rotation=25, scale=0.2, shift=0.12, brightness=0.2, contrast=0.4, noise=0.1, blurred=0.5),
}


def augment(batch: Tensor, preset: str, generator: torch.Generator, *, flip: bool = False) -> Tensor:
    """
    A varied copy of a batch, reproducible from the generator (of the CPU).

    batch: uint8 (N, S, S, 3).
    Returns float32 (N, 3, S, S) in 0..255; with preset "none" and no flip, the images as they are.
    """
    images = batch.permute(0, 3, 1, 2).float()
    amounts = PRESETS[preset]
    if flip:
        mirrored = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5  # noqa: PLR2004 - one in two
        images = torch.where(mirrored.to(images.device), images.flip(3), images)
    if amounts is None:
        return images
    images = _moved(images, amounts, generator)
    images = _blurred(images, amounts, generator)
    return _lit(images, amounts, generator).clamp_(0, 255)


def _moved(images: Tensor, amounts: Augmentation, generator: torch.Generator) -> Tensor:
    angle = _drawn(len(images), amounts.rotation * math.pi / 180, generator)
    zoom = 1 + _drawn(len(images), amounts.scale, generator)
    # grid_sample measures in half sides, so a shift of 0.06 of the side is 0.12 there.
    right, down = (_drawn(len(images), 2 * amounts.shift, generator) for _ in range(2))
    cosine, sine = torch.cos(angle) / zoom, torch.sin(angle) / zoom
    motion = torch.stack([cosine, -sine, right, sine, cosine, down], dim=1).view(-1, 2, 3)
    grid = functional.affine_grid(motion, list(images.shape), align_corners=False).to(images.device)
    return functional.grid_sample(images, grid, padding_mode="border", align_corners=False)


def _blurred(images: Tensor, amounts: Augmentation, generator: torch.Generator) -> Tensor:
    strength = torch.rand(len(images), 1, 1, 1, generator=generator)
    chosen = torch.rand(len(images), 1, 1, 1, generator=generator) < amounts.blurred
    padded = functional.pad(images, (1, 1, 1, 1), mode="replicate")
    wide = (padded[..., :-2] + 2 * padded[..., 1:-1] + padded[..., 2:]) / 4
    soft = (wide[..., :-2, :] + 2 * wide[..., 1:-1, :] + wide[..., 2:, :]) / 4
    return torch.lerp(images, soft, (strength * chosen).to(images.device))


def _lit(images: Tensor, amounts: Augmentation, generator: torch.Generator) -> Tensor:
    contrast = 1 + _drawn(len(images), amounts.contrast, generator)
    brightness = 255 * _drawn(len(images), amounts.brightness, generator)
    sigma = 255 * amounts.noise * torch.rand(len(images), 1, 1, 1, generator=generator)
    noise = torch.randn(images.shape, generator=generator) * sigma
    middle = images.mean(dim=(1, 2, 3), keepdim=True)
    factor, offset = (value.view(-1, 1, 1, 1).to(images.device) for value in (contrast, brightness))
    return (images - middle) * factor + middle + offset + noise.to(images.device)


def _drawn(count: int, most: float, generator: torch.Generator) -> Tensor:
    return (2 * torch.rand(count, generator=generator) - 1) * most
