"""Which labelled images are a fair sample of production: what people volunteer is mostly what went wrong."""

from collections.abc import Iterable

from flows.collecting.snapshot import PRODUCTION
from flows.workplace import Workplace
from models.examples import Example
from monitoring.labelling.requests import GATE, LabelRequest
from monitoring.labelling.rows import requests

_EVERYWHERE = ("", "overall")


def drawn_by_chance(place: Workplace, examples: Iterable[Example]) -> tuple[Example, ...]:
    """
    The examples whose label was asked for without regard to any model's answer, or all where the settings say so.

    On the others any model but the champion looks better than it is: they were labelled because it was wrong.
    """
    if place.settings.monitor.feedback_is_random:
        return tuple(examples)
    asked = {one.image_sha256 for one in requests(place.engine, place.settings.project.name) if _is_fair(one)}
    return tuple(one for one in examples if one.source != PRODUCTION or str(one.image).rpartition("/")[2] in asked)


def _is_fair(request: LabelRequest) -> bool:
    asked_for = dict((request.facts or {}).get("gate") or {}).get("group", "")
    return request.in_audit or (request.stratum == GATE and asked_for in _EVERYWHERE)
