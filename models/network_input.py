"""
How many pixels a side a network is given: its own number, or fewer where the images are small.

`python -m models.network_input BACKBONE` asks timm, in a process of its own: whoever asks need not carry torch.
"""

import argparse
import contextlib
import io
import json
import math
import sys
import warnings
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import median

from PIL import Image

_STEP = 32  # what most convolutional networks divide by, from their input to their last feature map
_LEAST = 64  # below, the last feature map of most networks is a single pixel


@dataclass(frozen=True)
class OwnInput:
    """A network's own input, pixels a side, and whether it was built for that size alone, as most transformers are."""

    image_size: int
    fixed: bool


def suited_size(own: OwnInput, longer_sides: Sequence[int]) -> int:
    """
    Pixels a side for images whose longer sides are these: no more than they have, in steps of 32 and at least 64.

    Enlarging small images adds cost and no detail: at 224 pixels a network works twelve times as long as at 64.
    """
    if own.fixed or not longer_sides:
        return own.image_size
    enough = max(_LEAST, _STEP * math.ceil(median(longer_sides) / _STEP))
    return min(own.image_size, enough)


def longer_sides(images: Iterable[bytes]) -> list[int]:
    """Of each image the longer side, pixels, read from its header; what is no image is left out."""
    sides = []
    for data in images:
        with (
            contextlib.suppress(OSError, ValueError, SyntaxError, Image.DecompressionBombError),
            warnings.catch_warnings(),
        ):
            # A huge picture is worth a warning where it is decoded; here nothing is.
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            sides.append(max(Image.open(io.BytesIO(data)).size))
    return sides


def own_input(backbone: str) -> OwnInput:
    """What timm says of a network; 224 of one that it says nothing about, as timm does itself."""
    import timm

    config = timm.get_pretrained_cfg(backbone)
    return OwnInput(224, fixed=False) if config is None else OwnInput(config.input_size[-1], config.fixed_input_size)


def main() -> int:
    """Write the answer as JSON."""
    parser = argparse.ArgumentParser(prog="python -m models.network_input", description=__doc__)
    parser.add_argument("backbone", help="a timm network")
    print(json.dumps(asdict(own_input(parser.parse_args().backbone))))  # noqa: T201 - the command's own words
    return 0


if __name__ == "__main__":
    sys.exit(main())
