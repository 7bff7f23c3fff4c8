"""Pictures made worse in eleven ways at five severities, after Hendrycks and Dietterich (ICLR 2019)."""

import io
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage

Pictures = NDArray[np.float64]  # (N, side, side), 0..1

SEVERITIES = (1, 2, 3, 4, 5)


def corrupted(pictures: Pictures, name: str, severity: int, chance: np.random.Generator) -> Pictures:
    """The pictures after one corruption; severity 1 is slight, 5 is gross."""
    return np.clip(CORRUPTIONS[name](pictures, severity - 1, chance), 0.0, 1.0)


def _noise(pictures: Pictures, level: int, chance: np.random.Generator) -> Pictures:
    return pictures + chance.normal(0, (0.06, 0.12, 0.2, 0.3, 0.45)[level], pictures.shape)


def _impulse(pictures: Pictures, level: int, chance: np.random.Generator) -> Pictures:
    hit = chance.random(pictures.shape) < (0.02, 0.05, 0.1, 0.18, 0.3)[level]
    return np.where(hit, chance.integers(0, 2, pictures.shape), pictures)


def _blur(pictures: Pictures, level: int, _chance: np.random.Generator) -> Pictures:
    # In units of the picture: eight pixels a side blur as much as thirty-two.
    width = (0.04, 0.065, 0.09, 0.125, 0.18)[level] * pictures.shape[1]
    blurred: Pictures = ndimage.gaussian_filter(pictures, sigma=(0, width, width))
    return blurred


def _brightness(pictures: Pictures, level: int, _chance: np.random.Generator) -> Pictures:
    return pictures + (0.1, 0.2, 0.3, 0.4, 0.55)[level]


def _darkness(pictures: Pictures, level: int, _chance: np.random.Generator) -> Pictures:
    return pictures * (0.8, 0.65, 0.5, 0.35, 0.2)[level]


def _contrast(pictures: Pictures, level: int, _chance: np.random.Generator) -> Pictures:
    mean = pictures.mean(axis=(1, 2), keepdims=True)
    return mean + (pictures - mean) * (0.75, 0.55, 0.4, 0.28, 0.18)[level]


def _pixelate(pictures: Pictures, level: int, _chance: np.random.Generator) -> Pictures:
    side = pictures.shape[1]
    kept = max(2, round(side * (0.75, 0.6, 0.5, 0.38, 0.28)[level]))
    return np.stack([_resized(_resized(one, kept, Image.Resampling.BOX), side, Image.Resampling.NEAREST)
                     for one in pictures])  # fmt: skip


def _resized(picture: NDArray[np.float64], side: int, how: Image.Resampling) -> NDArray[np.float64]:
    return np.asarray(Image.fromarray(picture.astype(np.float32)).resize((side, side), how), dtype=np.float64)


def _jpeg(pictures: Pictures, level: int, _chance: np.random.Generator) -> Pictures:
    quality = (25, 15, 9, 5, 2)[level]
    return np.stack([_through_jpeg(picture, quality) for picture in pictures])


def _through_jpeg(picture: NDArray[np.float64], quality: int) -> NDArray[np.float64]:
    stream = io.BytesIO()
    Image.fromarray(np.rint(255 * picture).astype(np.uint8)).save(stream, "JPEG", quality=quality)
    return np.asarray(Image.open(stream), dtype=np.float64) / 255


def _shift(pictures: Pictures, level: int, chance: np.random.Generator) -> Pictures:
    most = (0.06, 0.1, 0.14, 0.18, 0.25)[level] * pictures.shape[1]
    moves = chance.uniform(-most, most, (len(pictures), 2))
    return np.stack(
        [ndimage.shift(one, move, order=1, mode="nearest") for one, move in zip(pictures, moves, strict=True)]
    )


def _rotation(pictures: Pictures, level: int, chance: np.random.Generator) -> Pictures:
    most = (8, 15, 23, 32, 45)[level]
    angles = chance.uniform(-most, most, len(pictures))
    return np.stack(
        [
            ndimage.rotate(one, angle, reshape=False, order=1, mode="nearest")
            for one, angle in zip(pictures, angles, strict=True)
        ]
    )


def _occlusion(pictures: Pictures, level: int, chance: np.random.Generator) -> Pictures:
    side = pictures.shape[1]
    size = max(1, round(side * (0.15, 0.22, 0.3, 0.38, 0.5)[level]))
    hidden = pictures.copy()
    for one, (top, left) in zip(hidden, chance.integers(0, side - size + 1, (len(pictures), 2)), strict=True):
        one[top : top + size, left : left + size] = 0.5
    return hidden


CORRUPTIONS: dict[str, Callable[[Pictures, int, np.random.Generator], Pictures]] = {
    "noise": _noise, "impulse noise": _impulse, "blur": _blur, "brightness": _brightness, "darkness": _darkness,
    "contrast": _contrast, "pixelate": _pixelate, "jpeg": _jpeg, "shift": _shift, "rotation": _rotation,
    "occlusion": _occlusion,
}  # fmt: skip
