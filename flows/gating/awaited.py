"""What an undecided candidate waits for, and what has come of it."""

from flows.kept_labels import champion_classes
from flows.workplace import Workplace, role_key
from models.gate_needs import needs_from_json
from models.registry import ModelVersion
from monitoring.labelling.awaited import Awaited
from monitoring.labelling.rows import requests
from monitoring.labelling.unasked import Whose, serving, unasked
from monitoring.labelling.waiting import came


def awaited(place: Workplace, version: ModelVersion) -> tuple[Awaited, ...]:
    """What an undecided version waits for, and what has come of it, asked for or not."""
    needs = needs_from_json(version.gate)
    if not needs:
        return ()
    asked = requests(place.engine, place.settings.project.name)
    beside = unasked(place.log, asked, _whose(place, version))
    return tuple(Awaited(need, came(asked, version.version, need) + serving(beside, need)) for need in needs)


def _whose(place: Workplace, version: ModelVersion) -> Whose:
    data, random = place.settings.data, place.settings.monitor.feedback_is_random
    classes = champion_classes(place) or ()
    return Whose(version.fresh_since, classes, role_key(place.engine), data.group, data.untrusted_labellers, random)
