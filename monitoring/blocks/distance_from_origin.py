"""How far the world has moved from the images of the first training: drawn and told, never bet on."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from monitoring.blocks.cutting import Block


@dataclass(frozen=True)
class DistanceFromOrigin:
    """
    The newest block beside the origin.

    Attributes:
        distance: The largest of `families`, 0..1.
        limit: Above this a person is asked to confirm the new normal.
        block: Number of the block.
        families: Detector to its distance, 0..1.
    """

    distance: float
    limit: float
    block: int
    families: Mapping[str, float]

    @property
    def is_beyond(self) -> bool:
        """Whether a person has to look."""
        return self.distance > self.limit

    @property
    def words(self) -> str:
        """One sentence."""
        farthest = max(self.families, key=lambda name: self.families[name])
        return (
            f"The images have moved {self.distance:.2f} away from those of the first training (in {farthest}), and up "
            f"to {self.limit:.2f} would be fine (monitor.largest_distance_from_origin): if this is the new normal, say "
            'so with kedge watch --accept-as-normal "why".'
        )

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "beyond": self.is_beyond}


def distance_of(block: Block | None, limit: float) -> DistanceFromOrigin | None:
    """Of the newest block; None before the first, and where there is no origin to compare with."""
    if block is None or not block.measured.from_origin:
        return None
    families = dict(block.measured.from_origin)
    return DistanceFromOrigin(max(families.values()), limit, block.number, families)
