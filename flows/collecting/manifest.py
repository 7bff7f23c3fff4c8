"""
The manifest of a snapshot, kept with the version that it made: what trained and selected by name, what judged not.

Of judge images it holds a digest each, so that the fingerprint can be checked while nobody can read from it which
images to train on. Where an image was forgotten since, the manifest says how many, and the fingerprint stays as it was.
"""

import json
import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from flows.collecting.snapshot import PRODUCTION, Snapshot, digest_of, fingerprint_of, line_of
from flows.workplace import Workplace
from infra.objects import ObjectMissing
from models.examples import Example
from models.registry import ModelVersion

_JUDGE = "judge"
_NAMED = re.compile(r" \([^()]*\)$")


@dataclass(frozen=True)
class Row:
    """
    An image that trained or selected.

    Attributes:
        image: As the manifest's file has it, or a production image's key.
        sha256: Of its bytes.
    """

    image: str
    sha256: str
    label: str
    role: str
    source: str

    @property
    def line(self) -> str:
        return line_of(self.sha256, self.label, self.role, self.source)


@dataclass(frozen=True)
class Manifest:
    """
    A snapshot as it is kept for good.

    Attributes:
        judge: The digest of each judge image's line, sorted.
        counts: Role ("judge_old", "judge_recent", …) to source to the number of images, as they were then.
        left_out: How many labelled images were not used, by reason; without their names.
        forgotten: How many images were taken out since, because somebody had to be forgotten.
    """

    fingerprint: str
    classes: tuple[str, ...]
    rows: tuple[Row, ...]
    judge: tuple[str, ...]
    counts: Mapping[str, Mapping[str, int]]
    left_out: Mapping[str, int]
    labels_until: datetime | None
    forgotten: int = 0

    @property
    def is_whole(self) -> bool:
        """Whether its lines still make its fingerprint."""
        return fingerprint_of([*(digest_of(row.line) for row in self.rows), *self.judge]) == self.fingerprint

    def without(self, images: Collection[str]) -> "Manifest":
        """The manifest after these production images (SHA-256) had to be forgotten."""
        rows = tuple(row for row in self.rows if row.sha256 not in images or row.source != PRODUCTION)
        judging = {digest_of(line_of(image, label, _JUDGE, PRODUCTION)) for image in images for label in self.classes}
        judge = tuple(digest for digest in self.judge if digest not in judging)
        gone = len(self.rows) - len(rows) + len(self.judge) - len(judge)
        return replace(self, rows=rows, judge=judge, forgotten=self.forgotten + gone)

    def to_json(self) -> str:
        plain = asdict(self) | {"labels_until": None if self.labels_until is None else self.labels_until.isoformat()}
        return json.dumps(plain)

    @classmethod
    def from_json(cls, text: str | bytes) -> "Manifest":
        document: dict[str, Any] = json.loads(text)
        until = document["labels_until"]
        return cls(
            **{
                **document,
                "classes": tuple(document["classes"]),
                "rows": tuple(Row(**row) for row in document["rows"]),
                "judge": tuple(document["judge"]),
                "labels_until": None if until is None else datetime.fromisoformat(until),
            }
        )


def manifest_of(place: Workplace, snapshot: Snapshot) -> Manifest:
    """A snapshot as it is to be kept."""
    parts = {
        "train": snapshot.train,
        "select": snapshot.select,
        "judge_old": snapshot.judge_old,
        "judge_recent": snapshot.judge_recent,
    }
    judging = (*snapshot.judge_old, *snapshot.judge_recent)
    return Manifest(
        fingerprint=snapshot.fingerprint,
        classes=snapshot.classes,
        rows=tuple(_row(place, snapshot, one) for one in (*snapshot.train, *snapshot.select)),
        judge=tuple(sorted(digest_of(snapshot.line(one)) for one in judging)),
        counts={role: dict(Counter(one.source for one in examples)) for role, examples in parts.items()},
        left_out=_unnamed(snapshot.left_out),
        labels_until=snapshot.labels_until,
    )


def manifest_key(version: ModelVersion) -> str:
    """Where the object store has it."""
    return f"{version.artifact_prefix}/snapshot.json"


def keep_manifest(place: Workplace, version: ModelVersion, snapshot: Snapshot) -> str:
    """Store it beside the version's files; gives its key."""
    place.objects.put(manifest_key(version), manifest_of(place, snapshot).to_json().encode())
    return manifest_key(version)


def kept_manifest(place: Workplace, version: ModelVersion) -> Manifest | None:
    """The manifest of a version; None for one that was made before they were kept."""
    try:
        return Manifest.from_json(place.objects.get(manifest_key(version)))
    except ObjectMissing:
        return None


def forget_in_manifests(place: Workplace, images: Collection[str]) -> int:
    """Take these images (SHA-256) out of every version's manifest; says of how many."""
    changed = 0
    for version in place.registry.versions():
        manifest = kept_manifest(place, version)
        left = None if manifest is None else manifest.without(images)
        if left is not None and left != manifest:
            place.objects.put(manifest_key(version), left.to_json().encode())
            changed += 1
    return changed


def manifest_folder(place: Workplace) -> Path:
    """Where the names of manifest images start."""
    manifest = place.settings.data.manifest
    return manifest if manifest.is_dir() else manifest.parent


def _row(place: Workplace, snapshot: Snapshot, example: Example) -> Row:
    folder, image = manifest_folder(place), example.image
    name = image.relative_to(folder) if isinstance(image, Path) and image.is_relative_to(folder) else image
    return Row(
        name.as_posix() if isinstance(name, Path) else name,
        snapshot.content_of(example),
        example.label,
        example.split,
        example.source,
    )


def _unnamed(left_out: Mapping[str, int]) -> dict[str, int]:
    """Reasons name some of the images in brackets, to be found by a person; for good they are not kept."""
    found: Counter[str] = Counter()
    for reason, count in left_out.items():
        found[_NAMED.sub("", reason)] += count
    return dict(found)
