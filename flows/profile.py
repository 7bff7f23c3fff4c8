"""The reference profile of a new version: what its held-out images look like to it, for the watcher to compare with."""

from collections.abc import Sequence
from pathlib import Path

from flows.collecting.images import read_image
from flows.collecting.snapshot import PRODUCTION, Snapshot
from flows.judging import Judgement
from flows.workplace import Workplace
from models.examples import Example
from models.registry import ModelVersion
from models.runtime import Runtime
from monitoring.reference.build import build, judged_errors
from monitoring.reference.profile import ReferenceProfile, save_profile


def write_profile(
    place: Workplace, version: ModelVersion, candidate: Path, snapshot: Snapshot, judgement: Judgement
) -> None:
    """
    Score the *select* images with the exported model and keep the profile beside the version's artifact.

    Beside it the origin: of these images those of the manifest, which were there before any feedback, seen by the same
    model. Traffic that drifts a little from training to training moves the profile along, and never the origin.
    """
    data = place.settings.data
    sets = [judgement.old] if judgement.recent is None else [judgement.old, judgement.recent]
    runtime = Runtime.open(candidate)

    def profile_of(examples: Sequence[Example], trained_on: Sequence[Example]) -> ReferenceProfile:
        return build(
            runtime,
            examples,
            lambda example: read_image(place, example),
            version=version.version,
            judged_errors=judged_errors(sets, data.subgroups),
            categories=[*data.subgroups, *([data.source] if data.source else [])],
            identifiers=[data.group] if data.group else [],
            trained_on=[example.metadata for example in trained_on],
            seed=place.settings.train.seed,
        )

    profile = profile_of(snapshot.select, snapshot.train)
    first = [example for example in snapshot.select if example.source != PRODUCTION]
    origin = profile
    if 0 < len(first) < len(snapshot.select):
        origin = profile_of(first, [example for example in snapshot.train if example.source != PRODUCTION])
    save_profile(place.engine, place.objects, place.settings.project.name, profile, origin if first else None)
