"""The archive: earlier versions, tried on the fresh *select* images. Judge images are not looked at here."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from flows.collecting.by_chance import drawn_by_chance
from flows.collecting.images import read_image
from flows.collecting.snapshot import Snapshot
from flows.regimes.choice import LEAST_IMAGES, Choice, Tried, choose
from flows.regimes.sent_back import sent_back
from flows.telling import Teller
from flows.workplace import Workplace
from infra.errors import UserError
from models import rollouts
from models.champions import DISAPPOINTED
from models.evaluation import Judged, evaluate
from models.examples import Example
from models.noninferiority import paired_counts
from models.registry import ModelVersion
from models.runtime import Runtime

# Each costs a pass over some dozens of images, and a share of the level at which one is called better.
MOST_TRIED = 8
_STATES = ("registered", "retired", DISAPPOINTED)
_NAMED = 3


@dataclass(frozen=True)
class Fit:
    """
    What trying the archive came to.

    Attributes:
        version: The one that fits; None where none does.
        images: Fresh *select* images drawn by chance, which each answered.
        tried: Every version that was tried, the newest first.
        left_out: How many did not stay when they were sent out before, and why, as a sentence; "" for none.
    """

    version: ModelVersion | None
    words: str
    images: int
    tried: tuple[Tried, ...]
    left_out: str = ""


@dataclass(frozen=True)
class Archive:
    """
    The versions of before.

    Attributes:
        versions: May be tried; the newest first.
        left_out: Number to what happened to it: these were tried on the callers and did not stay.
    """

    versions: tuple[ModelVersion, ...]
    left_out: Mapping[int, str]

    @property
    def words(self) -> str:
        """How many were left out and why, as a sentence; "" for none."""
        if not self.left_out:
            return ""
        named = [f"version {number} ({why})" for number, why in list(self.left_out.items())[:_NAMED]]
        more = len(self.left_out) - len(named)
        named += [f"{more} more"] if more else []
        return f"Sent out before and taken back, so not tried: {len(self.left_out)}: {'; '.join(named)}."


def fitting_version(place: Workplace, snapshot: Snapshot, champion: ModelVersion, teller: Teller) -> Fit:
    """
    Try archived versions on the fresh *select* images, and choose one that is surely better than the champion.

    Refused versions are never tried, nor those on trial now, nor those with other classes than the champion's, nor
    those that were tried on the callers and did not stay.
    """
    images = drawn_by_chance(place, snapshot.select_recent)
    tried: tuple[Tried, ...] = ()
    archive = archived(place, champion)
    versions = archive.versions if len(images) >= LEAST_IMAGES else ()
    if versions:
        teller.say(f"Trying {len(versions)} archived versions on {len(images)} fresh images …")
        tried = _tried(place, versions, champion, images, teller)
    found: Choice = choose(tried, len(images), place.settings.monitor.harm_tolerance)
    chosen = next((one for one in versions if one.version == found.version), None)
    return Fit(chosen, found.words, len(images), tried, archive.words)


def archived(place: Workplace, champion: ModelVersion) -> Archive:
    """The versions that may be tried, and those that may return only where a person says so."""
    on_trial = rollouts.running(place.engine, place.registry.name)
    away = {champion.version, *(one.version for one in on_trial)}
    mine = [
        version
        for version in reversed(place.registry.versions())
        if version.state in _STATES and version.version not in away
    ]
    against = sent_back(place.registry)
    left_out = {one.version: against.get(one.version, one.state) for one in mine if _did_not_stay(one, against)}
    return Archive(tuple(one for one in mine if one.version not in left_out)[:MOST_TRIED], left_out)


def _did_not_stay(version: ModelVersion, against: Mapping[int, str]) -> bool:
    return version.version in against or version.state == DISAPPOINTED


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
