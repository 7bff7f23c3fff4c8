"""What an undecided candidate waits for, and what has come of it."""

from collections.abc import Sequence
from dataclasses import dataclass

from flows.kept_labels import champion_classes
from flows.workplace import Workplace, role_key
from models.gate_needs import LabelNeed, needs_from_json
from models.registry import ModelVersion
from monitoring.labelling.rows import requests
from monitoring.labelling.unasked import Whose, serving, unasked
from monitoring.labelling.waiting import attainable, came, most_labels


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
    """What an undecided version waits for, and what has come of it, asked for or not."""
    needs = needs_from_json(version.gate)
    if not needs:
        return ()
    asked = requests(place.engine, place.settings.project.name)
    beside = unasked(place.log, asked, _whose(place, version))
    return tuple(Awaited(need, came(asked, version.version, need) + serving(beside, need)) for need in needs)


def are_enough(place: Workplace, waits: Sequence[Awaited]) -> bool:
    """Whether all has come that people could be asked for: the rest will not come by waiting."""
    able = attainable([one.need for one in waits], most_labels(place.settings))
    return all(one.enough for one in waits if one.need in able)


def _whose(place: Workplace, version: ModelVersion) -> Whose:
    data, random = place.settings.data, place.settings.monitor.feedback_is_random
    classes = champion_classes(place) or ()
    return Whose(version.fresh_since, classes, role_key(place.engine), data.group, data.untrusted_labellers, random)
