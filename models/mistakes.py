"""The worst mistakes: wrong answers given with the most confidence, to be looked at by a person."""

import io
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from models.images import ImageLimits, decode

MOST_MISTAKES = 12

_THUMBNAIL_PIXELS = 320
_LIMITS = ImageLimits(most_bytes=500_000_000, most_pixels=500_000_000)


@dataclass(frozen=True)
class Mistake:
    """
    One wrong answer.

    Attributes:
        picture: PNG, at most 320 pixels a side.
        confidence: probability of the answer, 0..1.
        label_confidence: probability of the label, 0..1.
    """

    name: str
    picture: bytes
    label: str
    answer: str
    confidence: float
    label_confidence: float


def worst_mistakes(
    probabilities: NDArray[np.float32],
    labels: NDArray[np.int64],
    classes: Sequence[str],
    names: Sequence[str],
    read: Callable[[int], bytes],
    most: int = MOST_MISTAKES,
) -> tuple[Mistake, ...]:
    """
    The wrong answers with the most confidence, worst first; only their images are read.

    probabilities: shape (N, C); labels: class numbers, shape (N,); read: bytes of the image at a place in 0..N-1.
    """
    answers = probabilities.argmax(axis=1)
    wrong = np.flatnonzero(answers != labels)
    chosen = wrong[np.argsort(-probabilities[wrong, answers[wrong]], kind="stable")][:most]
    return tuple(
        Mistake(
            name=names[place],
            picture=_thumbnail(read(int(place))),
            label=classes[labels[place]],
            answer=classes[answers[place]],
            confidence=float(probabilities[place, answers[place]]),
            label_confidence=float(probabilities[place, labels[place]]),
        )
        for place in chosen
    )


def _thumbnail(data: bytes) -> bytes:
    image = Image.fromarray(decode(data, _LIMITS, least_side=_THUMBNAIL_PIXELS).pixels)
    image.thumbnail((_THUMBNAIL_PIXELS, _THUMBNAIL_PIXELS))
    out = io.BytesIO()
    image.save(out, "PNG")
    return out.getvalue()
