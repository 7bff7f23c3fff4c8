"""Judge images that came after a candidate was trained, without those that it has as good as seen."""

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from flows.collecting.images import content_of, read_image
from flows.collecting.manifest import Row, kept_manifest, manifest_folder
from flows.collecting.snapshot import PRODUCTION, Snapshot
from flows.fingerprints import fingerprints_of
from flows.workplace import Workplace
from infra.errors import UserError
from models.examples import Example
from models.near_duplicates import near_pairs
from models.registry import ModelVersion


def untrained(place: Workplace, snapshot: Snapshot, version: ModelVersion) -> Snapshot:
    """
    The snapshot without judge images that are near-duplicates of an image that trained the version.

    When it was trained, what was near a judge image was kept from training; a judge image of later has no such right
    over a training that is past. Of a version without a kept manifest nothing is known, and nothing is left out.
    """
    manifest, most_bits = kept_manifest(place, version), place.settings.data.near_duplicate_distance
    if manifest is None:
        return snapshot
    judging = (*snapshot.judge_old, *snapshot.judge_recent)
    trained = _trained(place, manifest.rows)
    contents = [content_of(one) for one in judging]
    near = set(trained) & set(contents)
    if most_bits:
        near |= _near(place, trained, dict(zip(contents, judging, strict=True)), most_bits)
    gone = {str(one.image) for one, content in zip(judging, contents, strict=True) if content in near}
    return replace(
        snapshot,
        judge_old=tuple(one for one in snapshot.judge_old if str(one.image) not in gone),
        judge_recent=tuple(one for one in snapshot.judge_recent if str(one.image) not in gone),
    )


def _trained(place: Workplace, rows: Sequence[Row]) -> dict[str, Example]:
    """By content, the images that trained; those that are gone are nobody's near-duplicate any more."""
    folder = manifest_folder(place)
    found = {}
    for row in rows:
        if row.role == "train":
            image = row.image if row.source == PRODUCTION else folder / row.image
            found[row.sha256] = Example(image, row.label, row.role, source=row.source)
    return found


def _near(place: Workplace, trained: dict[str, Example], judging: dict[str, Example], most_bits: int) -> set[str]:
    """Contents of judge images that are near an image that trained and bears the same label."""
    readers: dict[str, Callable[[], bytes]] = {
        content: partial(_bytes, place, one) for content, one in {**trained, **judging}.items()
    }
    names, prints = list(readers), fingerprints_of(place.settings, readers)
    found = set()
    for first, second in near_pairs([prints[name] for name in names], most_bits).tolist():
        one, other = names[first], names[second]
        for judge, other_one in ((one, other), (other, one)):
            if judge in judging and other_one in trained and judging[judge].label == trained[other_one].label:
                found.add(judge)
    return found


def _bytes(place: Workplace, example: Example) -> bytes:
    try:
        return read_image(place, example)
    except (UserError, OSError):
        return b""  # gone since; what cannot be decoded is near to nothing
