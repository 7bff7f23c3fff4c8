"""The reference profile of a new version: what its held-out images look like to it, for the watcher to compare with."""

from pathlib import Path

from flows.collect import Snapshot, read_image
from flows.judging import Judgement
from flows.workplace import Workplace
from models.registry import ModelVersion
from models.runtime import Runtime
from monitoring.reference import save_profile
from monitoring.reference_build import build, judged_errors


def write_profile(
    place: Workplace, version: ModelVersion, candidate: Path, snapshot: Snapshot, judgement: Judgement
) -> None:
    """Score the *select* images with the exported model and keep the profile beside the version's artifact."""
    data = place.settings.data
    sets = [judgement.old] if judgement.recent is None else [judgement.old, judgement.recent]
    profile = build(
        Runtime.open(candidate),
        snapshot.select,
        lambda example: read_image(place, example),
        version=version.version,
        judged_errors=judged_errors(sets, data.subgroups),
        categories=[*data.subgroups, *([data.source] if data.source else [])],
        identifiers=[data.group] if data.group else [],
        trained_on=[example.metadata for example in snapshot.train],
        seed=place.settings.train.seed,
    )
    save_profile(place.engine, place.objects, place.settings.project.name, profile)
