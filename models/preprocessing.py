"""The one preprocessing that training, judging and serving share: from any image to the network's input."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.images import USUAL_LIMITS, DecodedImage, ImageLimits, Pixels, decode

_VERSIONS = (1, 2)
# A reduced JPEG keeps at least so many pixels for each of the network's: what is left is then still averaged by the
# same filter, and the result is nearly that of the whole image.
_REDUCED_AT_LEAST = 2


@dataclass(frozen=True)
class Preprocessing:
    """
    From any image to the network's input.

    Attributes:
        image_size: pixels a side; the image is squashed, its aspect is not kept.
        mean: per channel, in 0..1.
        std: per channel, in 0..1.
        interpolation: bilinear or bicubic.
        version: changes when the same record would give other numbers. 1: every image is decoded whole. 2: a JPEG
            much larger than the network's input is decoded at a reduced scale; see `decode_for`.
    """

    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    interpolation: str = "bilinear"
    version: int = 2

    def to_json(self) -> dict[str, Any]:
        return {
            "image_size": self.image_size,
            "mean": list(self.mean),
            "std": list(self.std),
            "interpolation": self.interpolation,
            "version": self.version,
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Preprocessing":
        red, green, blue = (float(channel) for channel in value["mean"])
        red_std, green_std, blue_std = (float(channel) for channel in value["std"])
        if int(value["version"]) not in _VERSIONS:
            raise ValueError(f"preprocessing version {value['version']} is not known to this release of Kedge")
        return cls(
            image_size=int(value["image_size"]),
            mean=(red, green, blue),
            std=(red_std, green_std, blue_std),
            interpolation=str(value["interpolation"]),
            version=int(value["version"]),
        )


def decode_for(data: bytes, preprocessing: Preprocessing, limits: ImageLimits = USUAL_LIMITS) -> DecodedImage:
    """
    `decode`, at the scale that the preprocessing asks for.

    Whoever shows images to a network decodes them by this, in training, judging, building its reference and serving:
    a network must not meet other pixels in one of these than in the others.
    """
    least_side = 0 if preprocessing.version == 1 else _REDUCED_AT_LEAST * preprocessing.image_size
    return decode(data, limits, least_side)


def resize(pixels: Pixels, preprocessing: Preprocessing) -> Pixels:
    """The image squashed to uint8 (S, S, 3), with S the preprocessing's image size."""
    size = preprocessing.image_size
    if pixels.shape[:2] == (size, size):
        return pixels
    filters = {"bilinear": Image.Resampling.BILINEAR, "bicubic": Image.Resampling.BICUBIC}
    resized = Image.fromarray(pixels).resize((size, size), filters[preprocessing.interpolation])
    return np.asarray(resized, dtype=np.uint8)


def normalise(batch: Pixels, preprocessing: Preprocessing) -> NDArray[np.float32]:
    """From uint8 (N, S, S, 3) to the network's input: float32 (N, 3, S, S), contiguous."""
    scale, offset = scale_and_offset(preprocessing)
    planes = np.empty((batch.shape[0], 3, *batch.shape[1:3]), dtype=np.float32)
    for channel in range(3):
        np.multiply(batch[..., channel], scale[channel], out=planes[:, channel], dtype=np.float32)
        planes[:, channel] += offset[channel]
    return planes


def scale_and_offset(preprocessing: Preprocessing) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Per channel: (pixel / 255 - mean) / std = pixel * scale + offset."""
    mean = np.asarray(preprocessing.mean, dtype=np.float64)
    std = np.asarray(preprocessing.std, dtype=np.float64)
    return (1.0 / (255.0 * std)).astype(np.float32), (-mean / std).astype(np.float32)


def prepare(pixels: Pixels, preprocessing: Preprocessing) -> NDArray[np.float32]:
    """One decoded image to the network's input, float32 (3, S, S)."""
    prepared: NDArray[np.float32] = normalise(resize(pixels, preprocessing)[np.newaxis], preprocessing)[0]
    return prepared
