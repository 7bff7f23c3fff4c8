"""
What wears out: the champion won on the old judge images, so a part of them is replaced by new ones from time to time.

Over 50 retrains in simulation the same 500 images yielded 8 to 47 % less true improvement than fresh ones. The oldest
fifth of a class retires when the set was read ten times and as many new judge images of the class have come; what
judged once never trains, for its role is for ever.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from math import ceil
from pathlib import Path

from models.examples import Example

READINGS_EACH = 10
_PART = 5


@dataclass(frozen=True)
class Aged:
    """
    A judge image and its age.

    Attributes:
        labelled_at: None for an image of the manifest, which is older than any of production.
    """

    example: Example
    labelled_at: datetime | None

    @property
    def age(self) -> str:
        """Sorts from the oldest to the youngest; images of the manifest in an order that nobody chose."""
        if self.labelled_at is not None:
            return f"production {self.labelled_at.isoformat()}"
        name = self.example.image.name if isinstance(self.example.image, Path) else self.example.image
        return f"manifest {sha256(f'{self.example.label}/{name}'.encode()).hexdigest()[:16]}"


def still_judging(images: Sequence[Aged], retired_until: Mapping[str, str]) -> tuple[Example, ...]:
    """The images that did not retire, in their order."""
    return tuple(one.example for one in images if one.age > retired_until.get(one.example.label, ""))


def to_retire(
    images: Sequence[Aged], retired_until: Mapping[str, str], readings: int, began: datetime | None
) -> dict[str, str]:
    """
    By class, up to which age images retire now; empty where nothing does.

    A class of which too few new images have come keeps its old ones: a worn image says more than none.

    Args:
        images: Old judge images, retired ones among them.
        retired_until: As it stands.
        readings: Since the last replacing.
        began: When those began.
    """
    if readings < READINGS_EACH or began is None:
        return {}
    found = {}
    for label in sorted({one.example.label for one in images}):
        active = [one for one in images if one.example.label == label and one.age > retired_until.get(label, "")]
        old = sorted(one.age for one in active if one.labelled_at is None or one.labelled_at <= began)
        part = ceil(len(old) / _PART)
        if old and len(active) - len(old) >= part:
            found[label] = old[part - 1]
    return found
