"""Reading every image before anything is trained: what cannot be read, what is a copy, what contradicts a copy."""

import hashlib
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from infra.errors import UserError
from models.examples import Example
from models.images import ImageLimits, ImageRefused, decode
from models.near_duplicates import Fingerprint, fingerprint, near_pairs

_LIMITS = ImageLimits()
_NAMED = 5  # examples of one mistake that are named before "…"


@dataclass(frozen=True)
class ImageCheck:
    """
    What reading every image showed.

    Attributes:
        duplicates: images whose bytes another image also has.
        conflicts: of each content that bears several labels, one sentence.
        near_duplicates: images that are nearly the same as another one with other bytes and the same label.
        near_conflicts: of each pair of near-duplicates that bear different labels, one sentence.
        fingerprints: of each content, by its SHA-256.
    """

    images: int
    duplicates: int
    conflicts: tuple[str, ...]
    near_duplicates: int = 0
    near_conflicts: tuple[str, ...] = ()
    fingerprints: Mapping[str, Fingerprint] = field(default_factory=dict, repr=False)


def check_images(
    examples: Sequence[Example],
    limits: ImageLimits = _LIMITS,
    progress: Callable[[int, int], None] | None = None,
    near_duplicate_distance: int = 0,
) -> ImageCheck:
    """
    Read and decode every image.

    Args:
        examples: whose images are files.
        limits: of what may be decoded.
        progress: called as (done, of) after each image.
        near_duplicate_distance: bits of 100; 0 looks for equal bytes alone.

    Raises:
        UserError: naming the images that cannot be read, with the reason of each.
    """
    refused: list[str] = []
    same: dict[str, list[Example]] = defaultdict(list)
    fingerprints: dict[str, Fingerprint] = {}
    for done, example in enumerate(examples, start=1):
        try:
            data = Path(example.image).read_bytes()
            decoded = decode(data, limits)
        except ImageRefused as problem:
            refused.append(f"{example.image}: {problem.message}")
        except OSError as problem:
            refused.append(f"{example.image}: {problem.strerror or problem}")
        else:
            content = hashlib.sha256(data).hexdigest()
            same[content].append(example)
            fingerprints[content] = fingerprint(decoded.pixels)
        if progress:
            progress(done, len(examples))
    if refused:
        listed = "\n  ".join([*refused[:_NAMED], *(["…"] if len(refused) > _NAMED else [])])
        raise UserError(
            f"{len(refused)} of {len(examples)} images cannot be read; mend them or take them out:\n  {listed}"
        )
    near, near_conflicts = _near(list(same.values()), list(fingerprints.values()), near_duplicate_distance)
    return ImageCheck(
        images=len(examples),
        duplicates=sum(len(copies) - 1 for copies in same.values()),
        conflicts=tuple(
            f"the same image bears {_and(copies)}"
            for copies in same.values()
            if len({example.label for example in copies}) > 1
        ),
        near_duplicates=near,
        near_conflicts=near_conflicts,
        fingerprints=fingerprints,
    )


def _near(
    contents: Sequence[Sequence[Example]], fingerprints: Sequence[Fingerprint], most_bits: int
) -> tuple[int, tuple[str, ...]]:
    """How many contents have a near-duplicate of their label, and what to say of pairs with different labels."""
    if most_bits == 0:
        return 0, ()
    near: set[int] = set()
    conflicts = []
    for one, other in near_pairs(fingerprints, most_bits).tolist():
        if contents[one][0].label == contents[other][0].label:
            near |= {one, other}
        else:
            conflicts.append(f"nearly the same image bears {_and([contents[one][0], contents[other][0]])}")
    return len(near), tuple(conflicts)


def _and(examples: Sequence[Example]) -> str:
    return " and ".join(f"{example.label!r} ({Path(example.image).name})" for example in examples)
