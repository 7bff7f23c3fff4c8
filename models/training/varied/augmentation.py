"""Images varied afresh each time they are seen: whole batches at once, on whatever device holds them."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.transforms import v2

from models.training.varied.image_changes import blurred, moved, recoloured, rectangles

_POLICY_MAGNITUDE = 9  # of RandAugment's 30: what its authors found best for a mid-sized network
_ERASED_AREA = (0.02, 0.2)
_ERASED_ASPECT = 3.0
_SEEDS = 2**62


@dataclass(frozen=True)
class Augmentation:
    """
    How far an image may be moved from itself; unless said otherwise an amount is drawn evenly from minus to plus.

    Attributes:
        rotation: degrees.
        scale: of the size, 0.1 = a tenth smaller to a tenth larger.
        shift: of the side.
        brightness: of the full range of a pixel.
        contrast: factor, 0.2 = 0.8 to 1.2.
        noise: largest standard deviation, of the full range of a pixel.
        blurred: share of the images that are blurred a little.
        crop: smallest share of the area that stays in view, 1 = all of it.
        aspect: largest ratio by which the sides of the part in view differ.
        saturation: factor, 0.2 = 0.8 to 1.2.
        hue: degrees around the colour circle.
        erased: share of the images in which a rectangle is filled with random pixels.
        policy: changes per image out of RandAugment's list, 0 = none.
    """

    rotation: float
    scale: float
    shift: float
    brightness: float
    contrast: float
    noise: float
    blurred: float
    crop: float = 1.0
    aspect: float = 1.0
    saturation: float = 0.0
    hue: float = 0.0
    erased: float = 0.0
    policy: int = 0


# In light and medium every object stays whole and keeps its colour; strong may hide a part of it.
PRESETS = {
    "none": None,
    "light": Augmentation(rotation=15, scale=0.1, shift=0.06, brightness=0.1, contrast=0.2, noise=0.04, blurred=0.3),
    "medium": Augmentation(
        rotation=20,
        scale=0.1,
        shift=0.06,
        brightness=0.12,
        contrast=0.3,
        noise=0.04,
        blurred=0.4,
        crop=0.7,
        aspect=1.15,
        saturation=0.3,
        hue=8,
    ),
    "strong": Augmentation(
        rotation=25,
        scale=0.2,
        shift=0.08,
        brightness=0.2,
        contrast=0.4,
        noise=0.05,
        blurred=0.5,
        crop=0.5,
        aspect=1.33,
        saturation=0.5,
        hue=20,
        erased=0.3,
        policy=1,
    ),
}


def augment(batch: Tensor, preset: str, generator: torch.Generator, *, flip: bool = False) -> Tensor:
    """
    A varied copy of a batch, reproducible from the generator (of the CPU).

    batch: uint8 (N, S, S, 3).
    flip: mirror every other image, by chance, left to right; nothing else ever mirrors one.
    Returns float32 (N, 3, S, S) in 0..255; with preset "none" and no flip, the images as they are.
    """
    amounts = PRESETS[preset]
    return varied(batch, amounts, generator, flip=flip) if amounts else _flipped(batch, generator, flip=flip).float()


def varied(batch: Tensor, amounts: Augmentation, generator: torch.Generator, *, flip: bool = False) -> Tensor:
    """The same by amounts of one's own; a change whose amount is nought draws nothing from the generator."""
    images = _flipped(batch, generator, flip=flip)
    if amounts.policy:
        images = _by_policy(images, amounts.policy, generator)
    images = _reframed(images.float(), amounts, generator)
    images = _blurred(images, amounts, generator)
    images = _lit(images, amounts, generator).clamp_(0, 255)
    return _erased(images, amounts.erased, generator) if amounts.erased else images


def _flipped(batch: Tensor, generator: torch.Generator, *, flip: bool) -> Tensor:
    images = batch.permute(0, 3, 1, 2).contiguous()
    if not flip:
        return images
    mirrored = torch.rand(len(images), 1, 1, 1, generator=generator) < 0.5  # noqa: PLR2004 - one in two
    return torch.where(mirrored.to(images.device), images.flip(3), images)


def _by_policy(images: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Some changes of RandAugment's list to each image; what comes into view takes the image's mean colour."""
    # torchvision draws from the global generator: it is lent a seed of ours, then put back. torch.manual_seed would
    # also seed the accelerator's, and with it repeat the same dropout in every batch.
    means = images.float().mean(dim=(2, 3)).tolist()
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(_seed(generator))
        return torch.stack(
            [
                v2.RandAugment(count, _POLICY_MAGNITUDE, interpolation=v2.InterpolationMode.BILINEAR, fill=mean)(image)
                for image, mean in zip(images, means, strict=True)
            ]
        )


def _reframed(images: Tensor, amounts: Augmentation, generator: torch.Generator) -> Tensor:
    """Crop, aspect, rotation, size and shift, all by one resampling."""
    count = len(images)
    angle = _drawn(count, amounts.rotation * math.pi / 180, generator)
    zoom = 1 + _drawn(count, amounts.scale, generator)
    # The images are measured in half sides, so a shift of 0.06 of the side is 0.12 there.
    right, down = (_drawn(count, 2 * amounts.shift, generator) for _ in range(2))
    side = torch.sqrt(1 - _between(count, 0, 1 - amounts.crop, generator))
    stretch = torch.exp(_drawn(count, math.log(amounts.aspect) / 2, generator))
    width, height = (side * stretch).clamp(max=1), (side / stretch).clamp(max=1)
    right = right + (1 - width) * _drawn(count, float(amounts.crop < 1), generator)
    down = down + (1 - height) * _drawn(count, float(amounts.crop < 1), generator)
    return moved(images, angle, width / zoom, height / zoom, right, down)


def _blurred(images: Tensor, amounts: Augmentation, generator: torch.Generator) -> Tensor:
    strength = torch.rand(len(images), generator=generator)
    return blurred(images, strength * (torch.rand(len(images), generator=generator) < amounts.blurred))


def _lit(images: Tensor, amounts: Augmentation, generator: torch.Generator) -> Tensor:
    count = len(images)
    contrast = 1 + _drawn(count, amounts.contrast, generator)
    brightness = 255 * _drawn(count, amounts.brightness, generator)
    sigma = 255 * amounts.noise * torch.rand(count, 1, 1, 1, generator=generator)
    noise = torch.randn(images.shape, generator=_beside(images, generator), device=images.device)
    saturation = 1 + _drawn(count, amounts.saturation, generator)
    hue = _drawn(count, amounts.hue * math.pi / 180, generator)
    lit = recoloured(images, contrast, brightness, saturation, hue)
    return lit.addcmul_(noise, sigma.to(images.device))


def _erased(images: Tensor, share: float, generator: torch.Generator) -> Tensor:
    count, side = len(images), images.shape[-1]
    chosen = torch.rand(count, generator=generator) < share
    area = _between(count, *_ERASED_AREA, generator)
    stretch = torch.exp(_drawn(count, math.log(_ERASED_ASPECT) / 2, generator))
    height, width = ((side * torch.sqrt(area) * by).round().clamp(1, side) for by in (stretch, 1 / stretch))
    top, left = (((side - length + 1) * torch.rand(count, generator=generator)).floor() for length in (height, width))
    top, left, height, width = (value.to(images.device) for value in (top, left, height * chosen, width))
    holes = rectangles(top, left, height, width, (side, side)).unsqueeze(1)
    filling = 255 * torch.rand(images.shape, generator=_beside(images, generator), device=images.device)
    return torch.where(holes, filling, images)


def _drawn(count: int, most: float, generator: torch.Generator) -> Tensor:
    """Evenly from minus `most` to plus, shape (count,)."""
    return (2 * torch.rand(count, generator=generator) - 1) * most if most else torch.zeros(count)


def _between(count: int, least: float, most: float, generator: torch.Generator) -> Tensor:
    spread = most - least
    return least + spread * torch.rand(count, generator=generator) if spread else torch.full((count,), float(least))


def _beside(images: Tensor, generator: torch.Generator) -> torch.Generator:
    """A generator where the images are: drawing every pixel elsewhere and sending it over would take longer."""
    if images.device == generator.device:
        return generator
    return torch.Generator(images.device).manual_seed(_seed(generator))


def _seed(generator: torch.Generator) -> int:
    return int(torch.randint(_SEEDS, (1,), generator=generator))
