"""`kedge rollout gallery`: the images on which a shadow and the champion part, as a page."""

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from flows.kept_labels import champion_classes
from flows.workplace import Workplace
from infra.errors import UserError
from infra.files import write_atomically
from infra.objects import ObjectMissing
from models import rollout_runs, rollouts
from models.rollouts import SHADOW
from monitoring.gallery.disagreements import Gallery, gallery
from monitoring.gallery.page import render_gallery_html
from monitoring.prediction_log import image_key


@dataclass(frozen=True)
class _Shadowed:
    champion: int
    version: int
    since: datetime


def draw_gallery(place: Workplace, output: Path) -> Gallery:
    """
    Write the page of what is shadow now, or of the newest rollout; nothing of it is kept elsewhere: it shows callers'
    images.

    Raises:
        UserError: no version is a shadow, and there was no rollout.
    """
    shadowed = _shadowed(place)
    if shadowed is None:
        raise UserError(
            "No version answers as shadow, and no rollout is known whose shadow could be shown. `kedge shadow VERSION` "
            "makes one answer unseen."
        )
    classes = champion_classes(place) or ()
    found = gallery(place.log, shadowed.champion, shadowed.version, shadowed.since, classes)
    write_atomically(output, render_gallery_html(place.settings.project.name, found, lambda one: _picture(place, one)))
    return found


def _shadowed(place: Workplace) -> _Shadowed | None:
    name, champion = place.settings.project.name, place.registry.champions.current()
    for one in rollouts.running(place.engine, name):
        if one.alias == SHADOW and champion is not None:
            return _Shadowed(champion, one.version, one.since)
    for run in rollout_runs.runs(place.engine, name, last=1):
        if run.champion_version is not None:
            return _Shadowed(run.champion_version, run.version, run.started_at)
    return None


def _picture(place: Workplace, sha256: str) -> bytes | None:
    try:
        return place.objects.get(image_key(sha256))
    except ObjectMissing:
        return None
