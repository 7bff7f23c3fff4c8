"""An image as the network and the statistics see it: decoded once, sampled, and brought to the network's square."""

from dataclasses import dataclass

from models.images import ImageLimits, Pixels
from models.preprocessing import Preprocessing, decode_for, resize
from monitoring.image_stats import Sample, sample_of


@dataclass(frozen=True)
class Seen:
    """
    What is left of an image once it was looked at.

    Attributes:
        square: uint8 (S, S, 3), the network's input before normalising.
        sample: of the image, for its statistics.
        preprocessing: that made the square.
    """

    square: Pixels
    sample: Sample
    width: int
    height: int
    format: str
    preprocessing: Preprocessing


def see(data: bytes, preprocessing: Preprocessing, limits: ImageLimits) -> Seen:
    """
    Look at the bytes of one image.

    Each image is brought to the network's size at once: a batch of large ones would not fit into memory.

    Raises:
        ImageRefused: no image, damaged, or beyond the limits.
    """
    image = decode_for(data, preprocessing, limits)
    square = resize(image.pixels, preprocessing)
    sample = sample_of(image.pixels, image.width, image.height, len(data))
    return Seen(square, sample, image.width, image.height, image.format, preprocessing)
