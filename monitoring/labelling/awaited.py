"""What a waiting candidate waits for, need by need, and whether it is worth waiting on. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass

from models.gate_needs import OVERALL, LabelNeed
from monitoring.labelling.waiting import attainable


@dataclass(frozen=True)
class Awaited:
    """A need, and how many of its labels have come."""

    need: LabelNeed
    come: int

    @property
    def enough(self) -> bool:
        return self.come >= self.need.labels

    def in_words(self) -> str:
        what = "any image" if self.need.group == OVERALL else self.need.group.replace("=", " ")
        return f"{self.come} of {self.need.labels} labels of {what}, {self.need.scope}"


def are_enough(waits: Sequence[Awaited], most: float) -> bool:
    """
    Whether all has come that people could be asked for: the rest will not come by waiting.

    most: Labels that they can give; infinite where nobody is asked, for nobody knows what comes by itself.
    """
    able = attainable([one.need for one in waits], most)
    return all(one.enough for one in waits if one.need in able)
