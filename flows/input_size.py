"""How large the images of a first model are made, where the settings leave it open."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from statistics import median

from infra.errors import UserError
from models.examples import Example
from models.network_input import OwnInput, longer_sides, suited_size

_LOOKED_AT = 200


@dataclass(frozen=True)
class InputSize:
    """Pixels a side, and in `words` why; no words where it is simply the network's own."""

    pixels: int
    words: str


def chosen_size(backbone: str, examples: Sequence[Example], read: Callable[[Example], bytes]) -> InputSize:
    """
    The network's own size, or less where the images have less.

    examples: those that train; some hundred of them are looked at, evenly spread.

    Raises:
        UserError: the network could not be asked for.
    """
    every = max(1, len(examples) // _LOOKED_AT)
    sides = longer_sides(read(example) for example in examples[::every])
    own = _own_input(backbone)
    pixels = suited_size(own, sides)
    if pixels == own.image_size:
        return InputSize(pixels, "")
    words = f"Images are trained at {pixels} × {pixels} pixels: their longer side has {median(sides):.0f}, "
    words += f"and enlarging them to the {own.image_size} of {backbone} would cost time and add nothing. "
    return InputSize(pixels, words + "--image-size or model.image_size overrules.")


@cache
def _own_input(backbone: str) -> OwnInput:
    # A process of its own: the network's library would stay in this one's memory for as long as it trains.
    done = subprocess.run(
        [sys.executable, "-m", "models.network_input", backbone],
        env={**os.environ, "PYTHONSAFEPATH": "1"},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode != 0:
        raise UserError(f"model.backbone {backbone!r} could not be looked up:\n{done.stderr.strip()}")
    return OwnInput(**json.loads(done.stdout.splitlines()[-1]))
