"""What an undecided candidate waits for, and what has come of it."""

from dataclasses import dataclass

from flows.workplace import Workplace
from models.gate_needs import LabelNeed, needs_from_json
from models.registry import ModelVersion
from monitoring.labelling.rows import requests
from monitoring.labelling.waiting import came


@dataclass(frozen=True)
class Awaited:
    """A need, and how many of its labels have come."""

    need: LabelNeed
    come: int

    @property
    def enough(self) -> bool:
        return self.come >= self.need.labels

    def in_words(self) -> str:
        what = "any image" if self.need.group == "overall" else self.need.group.replace("=", " ")
        return f"{self.come} of {self.need.labels} labels of {what}, {self.need.scope}"


def awaited(place: Workplace, version: ModelVersion) -> tuple[Awaited, ...]:
    """What an undecided version waits for, and what has come of it."""
    needs = needs_from_json(version.gate)
    asked = requests(place.engine, place.settings.project.name) if needs else ()
    return tuple(Awaited(need, came(asked, version.version, need)) for need in needs)
