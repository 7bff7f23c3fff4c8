"""The archive: earlier versions, tried on the fresh *select* images. Judge images are not looked at here."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from flows.collecting.by_chance import drawn_by_chance
from flows.collecting.images import read_image
from flows.collecting.snapshot import Snapshot
from flows.regimes.choice import LEAST_IMAGES, Choice, Tried, choose
from flows.telling import Teller
from flows.workplace import Workplace
from infra.errors import UserError
from models import rollouts
from models.evaluation import Judged, evaluate
from models.examples import Example
from models.noninferiority import paired_counts
from models.registry import ModelVersion
from models.runtime import Runtime

# Each costs a pass over some dozens of images, and a share of the level at which one is called better.
MOST_TRIED = 8
_STATES = ("registered", "retired")


@dataclass(frozen=True)
class Fit:
    """
    What trying the archive came to.

    Attributes:
        version: The one that fits; None where none does.
        images: Fresh *select* images drawn by chance, which each answered.
        tried: Every version that was tried, the newest first.
    """

    version: ModelVersion | None
    words: str
    images: int
    tried: tuple[Tried, ...]


def fitting_version(place: Workplace, snapshot: Snapshot, champion: ModelVersion, teller: Teller) -> Fit:
    """
    Try archived versions on the fresh *select* images, and choose one that is surely better than the champion.

    Refused versions are never tried, nor those on trial now, nor those with other classes than the champion's.
    """
    images = drawn_by_chance(place, snapshot.select_recent)
    tried: tuple[Tried, ...] = ()
    versions = archived(place, champion) if len(images) >= LEAST_IMAGES else ()
    if versions:
        teller.say(f"Trying {len(versions)} archived versions on {len(images)} fresh images …")
        tried = _tried(place, versions, champion, images, teller)
    found: Choice = choose(tried, len(images), place.settings.monitor.harm_tolerance)
    chosen = next((one for one in versions if one.version == found.version), None)
    return Fit(chosen, found.words, len(images), tried)


def archived(place: Workplace, champion: ModelVersion) -> tuple[ModelVersion, ...]:
    """The versions that may be tried, the newest first."""
    on_trial = {one.version for one in rollouts.running(place.engine, place.registry.name)}
    mine = [
        version
        for version in reversed(place.registry.versions())
        if version.state in _STATES and version.version not in {champion.version, *on_trial}
    ]
    return tuple(mine[:MOST_TRIED])


def _tried(
    place: Workplace,
    versions: Sequence[ModelVersion],
    champion: ModelVersion,
    images: Sequence[Example],
    teller: Teller,
) -> tuple[Tried, ...]:
    own = _answers(place, champion, images)
    found = []
    for version in versions:
        try:
            answers = _answers(place, version, images)
        except UserError as error:
            # One that is damaged, or from before a class was added, is no reason not to train.
            teller.warn(f"{version.title} was not tried: {error}")
            continue
        if answers.classes != own.classes:
            continue
        right = answers.predictions == answers.labels
        counts, _ = paired_counts(own.predictions == own.labels, right, answers.groups)
        judged = (version.scorecard or {}).get("accuracy")
        found.append(Tried(version.version, counts, float(right.mean()), None if judged is None else float(judged)))
    return tuple(found)


def _answers(place: Workplace, version: ModelVersion, images: Sequence[Example]) -> Judged:
    runtime = Runtime.open(place.registry.fetch(version.version, place.fetched))
    return evaluate(runtime, images, partial(read_image, place))
