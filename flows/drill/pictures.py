"""The images that a drill sends: callers' own where they were kept, made-up ones where there are too few."""

import io
from collections.abc import Iterator

import numpy as np
from PIL import Image

from flows.workplace import Workplace
from infra.objects import ObjectMissing
from monitoring.prediction_log import image_key

_SIDE = 64
_LOOKED_AT = 400


def pictures(place: Workplace, wanted: int) -> list[bytes]:
    """So many different images; what they show is of no account, since the champion's answer counts as the truth."""
    found = dict.fromkeys(_kept(place, wanted))
    chance = np.random.default_rng(0)
    while len(found) < wanted:
        found[_drawn(chance)] = None
    return list(found)


def _kept(place: Workplace, wanted: int) -> Iterator[bytes]:
    hashes = dict.fromkeys(row.image_sha256 for row in place.log.recent(_LOOKED_AT) if row.image_kept)
    for sha256 in list(hashes)[:wanted]:
        try:
            yield place.objects.get(image_key(sha256))
        except ObjectMissing:
            continue


def _drawn(chance: np.random.Generator) -> bytes:
    """A colour that runs into another, with noise: unlike the one before."""
    ends = chance.integers(0, 256, (2, 3))
    ramp = np.linspace(0, 1, _SIDE)[:, None, None]
    pixels = ends[0] * (1 - ramp) + ends[1] * ramp + chance.normal(0, 10, (_SIDE, _SIDE, 3))
    stream = io.BytesIO()
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(stream, "PNG")
    return stream.getvalue()
