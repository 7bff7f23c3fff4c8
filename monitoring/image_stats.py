"""What a picture looks like, in a few numbers that need no model: light, contrast, focus, colour, noise, shape."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]

# New ones go to the end: rows and profiles written before them are the shorter by so many numbers.
NAMES = (
    "brightness", "contrast", "sharpness", "saturation", "noise", "aspect", "megapixels", "warmth", "compression",
)  # fmt: skip
EARLIEST = 7  # as many the first rows of a log have

_BLOCK = 8
_MOST_SIDE = 64
_NOISE_SCALE = float(np.sqrt(np.pi / 2) / 6)  # mean |Laplacian of Gaussian noise| to its deviation (Immerkaer)


@dataclass(frozen=True)
class Sample:
    """
    As much of an image as its statistics need.

    Attributes:
        pixels: uint8 (h, w, 3), RGB, h and w at least 1 and at most 64.
        width: of the whole image, in pixels.
        height: of the whole image, in pixels.
        encoded: bytes of the whole image as it was sent; 0 = not known.
    """

    pixels: NDArray[np.uint8]
    width: int
    height: int
    encoded: int = 0


def sample_of(pixels: NDArray[np.uint8], width: int = 0, height: int = 0, encoded: int = 0) -> Sample:
    """
    What is looked at of an image, uint8 (H, W, 3).

    Large images are judged on a regular grid of whole neighbourhoods, so that the cost stays bounded and the
    fine structure is still that of the original pixels.

    Args:
        pixels: RGB; may be smaller than the image, where it was decoded at a lower scale.
        width: of the image itself; 0 = that of the pixels.
        height: likewise.
        encoded: bytes of the image as it was sent; 0 = not known.
    """
    size = (width or pixels.shape[1], height or pixels.shape[0], encoded)
    rows, row_cells, tall = _grid(pixels.shape[0])
    columns, column_cells, wide = _grid(pixels.shape[1])
    part = pixels[rows, columns]
    height_of, width_of = part.shape[0] // row_cells, part.shape[1] // column_cells
    # Splitting axes copies nothing; only the middle of each cell is copied, at the end.
    cells = part.reshape(row_cells, height_of, column_cells, width_of, 3)
    top, left = (height_of - tall) // 2, (width_of - wide) // 2
    middles = cells[:, top : top + tall, :, left : left + wide]
    return Sample(middles.reshape(row_cells * tall, column_cells * wide, 3), *size)


def _grid(length: int) -> tuple[slice, int, int]:
    """Of one axis: what is split into equal cells, into how many, and how many pixels in the middle of each count."""
    if length <= _MOST_SIDE:
        return slice(None), 1, length
    cells = _MOST_SIDE // _BLOCK
    whole = length // cells * cells
    first = (length - whole) // 2
    return slice(first, first + whole), cells, _BLOCK


def statistics_of(pixels: NDArray[np.uint8]) -> Floats:
    """The statistics of one image, uint8 (H, W, 3), in the order of `NAMES`: float32 (len(NAMES),)."""
    found: Floats = statistics_of_all([sample_of(pixels)])[0]
    return found


def statistics_of_all(samples: Sequence[Sample]) -> Floats:
    """
    The statistics of several images, float32 (N, len(NAMES)): images of one size cost little more than one of them.

    Brightness, contrast and saturation lie in 0..1; noise is a deviation on the same scale; sharpness is the
    mean absolute slope between neighbouring pixels, 0..1; aspect is the logarithm of width over height; warmth is
    mean red less mean blue, -1..1, which swapped channels turn round; compression is in bytes a pixel, NaN where the
    bytes are not known.
    """
    found = np.empty((len(samples), len(NAMES)), dtype=np.float32)
    by_shape: dict[tuple[int, ...], list[int]] = {}
    for place, sample in enumerate(samples):
        by_shape.setdefault(sample.pixels.shape, []).append(place)
        found[place, 5] = np.log(sample.width / sample.height)
        found[place, 6] = sample.width * sample.height / 1e6
        found[place, 8] = sample.encoded / (sample.width * sample.height) if sample.encoded else np.nan
    for places in by_shape.values():
        looks = _looks(np.stack([samples[place].pixels for place in places]))
        found[places, :5], found[places, 7] = looks[:, :5], looks[:, 5]
    return found


def _looks(pictures: NDArray[np.uint8]) -> Floats:
    """Brightness to noise, and warmth, of pictures of one size, (N, H, W, 3)."""
    count, height, width, _ = pictures.shape
    # Planes side by side, and whole numbers of 16 bits, of which twice as many fit into one instruction.
    planes = np.ascontiguousarray(pictures.reshape(-1, 3).T).reshape(3, count, height, width)
    luma = _luma(*planes)
    light = luma.reshape(count, -1).astype(np.float32)
    mean = light.mean(axis=1)
    variance = np.einsum("ij,ij->i", light, light) / light.shape[1] - mean**2
    highest, lowest = _total(planes.max(axis=0)), _total(planes.min(axis=0))
    down, across = luma[:, 1:] - luma[:, :-1], luma[:, :, 1:] - luma[:, :, :-1]
    slope = (_size_of(down) + _size_of(across)) / 2
    # The filter [[1,-2,1],[-2,4,-2],[1,-2,1]] is blind to flat areas and to straight edges: what it sees is noise.
    # It is four differences in a row, two each way.
    twice = down[:, 1:] - down[:, :-1]
    thrice = twice[:, :, 1:] - twice[:, :, :-1]
    noise = _size_of(thrice[:, :, 1:] - thrice[:, :, :-1]) * _NOISE_SCALE
    saturation = 1 - np.divide(lowest, highest, out=np.ones_like(lowest), where=highest > 0)
    warmth = (_total(planes[0]) - _total(planes[2])) / light.shape[1]
    deviation = np.sqrt(np.maximum(variance, 0.0))
    columns = (mean / 255, deviation / 255, slope / 255, saturation, noise / 255, warmth / 255)
    return np.stack(columns, axis=1).astype(np.float32)


def _luma(red: NDArray[np.uint8], green: NDArray[np.uint8], blue: NDArray[np.uint8]) -> NDArray[np.int16]:
    """Brightness as the eye weighs it (ITU-R BT.601), 0..255; whole numbers, since 77 + 150 + 29 = 256."""
    luma: NDArray[np.uint16] = red * np.uint16(77)
    luma += green * np.uint16(150)
    luma += blue * np.uint16(29)
    luma >>= 8
    return luma.view(np.int16)


def _total(values: NDArray[np.uint8]) -> NDArray[np.float64]:
    total: NDArray[np.float64] = values.reshape(len(values), -1).sum(axis=1, dtype=np.uint32).astype(np.float64)
    return total


def _size_of(differences: NDArray[np.int16]) -> NDArray[np.float64]:
    """The mean absolute difference of each picture; 0 where it is too small to have any."""
    flat = np.abs(differences).reshape(len(differences), -1)
    mean: NDArray[np.float64] = flat.sum(axis=1, dtype=np.int32) / max(flat.shape[1], 1)
    return mean
