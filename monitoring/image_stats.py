"""What a picture looks like, in a few numbers that need no model: light, contrast, focus, colour, noise, shape."""

import numpy as np
from numpy.typing import NDArray

NAMES = ("brightness", "contrast", "sharpness", "saturation", "noise", "aspect", "megapixels")

_MOST_SIDE = 96
_NOISE_SCALE = float(np.sqrt(np.pi / 2) / 6)  # mean |Laplacian of Gaussian noise| to its deviation (Immerkaer)


def statistics_of(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """
    The statistics of one image, in the order of `NAMES`.

    Brightness, contrast and saturation lie in 0..1; noise is a deviation on the same scale; sharpness is the
    mean absolute slope between neighbouring pixels, 0..1; aspect is the logarithm of width over height.
    Large images are judged on a regular grid of whole neighbourhoods, so that the cost stays bounded and the
    fine structure is still that of the original pixels.

    Args:
        pixels: shape (H, W, 3), RGB, H and W at least 1.

    Returns:
        shape (len(NAMES),).
    """
    height, width = pixels.shape[:2]
    planes = np.ascontiguousarray(np.moveaxis(_sample(pixels), 2, 0))
    luma = _luma(planes)
    flat = luma.ravel()
    mean = float(flat.sum()) / flat.size
    variance = float(np.dot(flat, flat)) / flat.size - mean**2
    highest, lowest = (float(plane.sum(dtype=np.uint32)) for plane in (planes.max(axis=0), planes.min(axis=0)))
    down, across = luma[1:] - luma[:-1], luma[:, 1:] - luma[:, :-1]
    return np.array(
        [
            mean / 255,
            max(variance, 0.0) ** 0.5 / 255,
            (_size_of(down) + _size_of(across)) / 2 / 255,
            1 - lowest / highest if highest else 0.0,
            _noise(down) / 255,
            np.log(width / height),
            width * height / 1e6,
        ],
        dtype=np.float32,
    )


def _luma(planes: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Brightness as the eye weighs it (ITU-R BT.601), 0..255; whole numbers, since 77 + 150 + 29 = 256."""
    red, green, blue = planes
    luma: NDArray[np.uint16] = red * np.uint16(77)
    luma += green * np.uint16(150)
    luma += blue * np.uint16(29)
    luma >>= 8
    return luma.astype(np.float32)


def _noise(down: NDArray[np.float32]) -> float:
    """
    The deviation of the noise, from the differences of neighbouring rows.

    The filter [[1,-2,1],[-2,4,-2],[1,-2,1]] is blind to flat areas and to straight edges; it is four differences in
    a row, two each way.
    """
    twice = down[1:] - down[:-1]
    thrice = twice[:, 1:] - twice[:, :-1]
    return _size_of(thrice[:, 1:] - thrice[:, :-1]) * _NOISE_SCALE


def _size_of(differences: NDArray[np.float32]) -> float:
    return float(np.abs(differences).sum()) / max(differences.size, 1)


def _sample(pixels: NDArray[np.uint8]) -> NDArray[np.uint8]:
    for axis in (0, 1):
        length = pixels.shape[axis]
        if length > _MOST_SIDE:
            # Blocks of 8 neighbours, evenly spread: striding single pixels would turn detail into noise.
            blocks = _MOST_SIDE // 8
            starts = np.linspace(0, length - 8, blocks).astype(np.intp)
            pixels = np.take(pixels, (starts[:, None] + np.arange(8)).ravel(), axis=axis)
    return pixels
