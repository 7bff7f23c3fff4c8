"""
Collecting: a run directory that needs nothing else, from the manifest and from labelled production images.

Each group of images has one role for ever. Judge images never enter the run directory: only the gate reads them.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Container, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from flows.workplace import Workplace, role_key
from infra.files import sha256_of, write_atomically
from models.examples import ROLES, Example, check_roles, classes_of, read_manifest, with_roles
from models.registry import ModelVersion
from models.training.run_folder import RunExample, write_examples
from monitoring.prediction_log import image_key

PRODUCTION = "production"
_FILE = "snapshot.json"


@dataclass(frozen=True)
class Snapshot:
    """
    The labelled images of one training, by role.

    Attributes:
        classes: Sorted; the order of the network's outputs.
        train: What trains: fresh images and, in a retrain, replayed old ones.
        select: For early stopping and temperature.
        judge_old: Judge images that were there before the champion was trained.
        judge_recent: Judge images labelled since then; empty without a champion.
        left_out: How many labelled images could not be used, by reason.
        fingerprint: SHA-256 over name (of production images: content), label and role of all of them.
    """

    classes: tuple[str, ...]
    train: tuple[Example, ...]
    select: tuple[Example, ...]
    judge_old: tuple[Example, ...]
    judge_recent: tuple[Example, ...]
    left_out: Mapping[str, int]
    fingerprint: str

    @property
    def fresh(self) -> int:
        """How many training images came from production."""
        return sum(example.source == PRODUCTION for example in self.train)


def first_snapshot(place: Workplace) -> Snapshot:
    """The manifest alone, for a first model or a new start."""
    examples, left_out, _ = _one_role_each(manifest_examples(place))
    check_roles(examples)
    return _snapshot(classes_of(examples), by_role(examples), (), left_out)


def retrain_snapshot(place: Workplace, champion: ModelVersion, classes: tuple[str, ...]) -> Snapshot:
    """
    Labelled production images together with replayed old ones, for a successor of `champion`.

    Production images labelled before the champion was made count as old: they trained it, or were judged then.
    """
    manifest, left_out, contents = _one_role_each(manifest_examples(place))
    production, unusable = production_examples(place, classes, contents)
    since = champion.created_at
    fresh = [example for example, labelled_at in production if labelled_at >= since]
    earlier = [example for example, labelled_at in production if labelled_at < since]
    old = by_role([*manifest, *earlier])
    new = by_role(fresh)
    replayed = replay(old["train"], place.settings.train.replay_images, place.settings.train.seed)
    roles = {
        "train": [*replayed, *new["train"]],
        "select": [*old["select"], *new["select"]],
        "judge": old["judge"],
    }
    return _snapshot(classes, roles, new["judge"], left_out + unusable)


def write_run_dir(place: Workplace, snapshot: Snapshot, run_dir: Path) -> None:
    """Copy the training and selection images into `run_dir/images` and list them in `run_dir/examples.csv`."""
    (run_dir / "images").mkdir(parents=True, exist_ok=True)
    listed = []
    for role, examples in (("train", snapshot.train), ("select", snapshot.select)):
        for example in examples:
            data = read_image(place, example)
            # Content-addressed: the same image from two places is one file, and names cannot clash.
            name = f"images/{hashlib.sha256(data).hexdigest()}"
            # Not synced one by one: a run directory counts only once its snapshot.json is there.
            (run_dir / name).write_bytes(data)
            listed.append(RunExample(name, example.label, role, 1.0, example.group, example.source))
    write_examples(run_dir, listed)


def keep_snapshot(snapshot: Snapshot, run_dir: Path) -> None:
    """Write `run_dir/snapshot.json`, last: a job that goes on after a crash trains and judges on the same images."""
    write_atomically(run_dir / _FILE, json.dumps(asdict(snapshot), default=lambda path: {"file": str(path)}))


def kept_snapshot(run_dir: Path) -> Snapshot | None:
    """The snapshot of a run directory that was filled before; None where it was not, or not to its end."""
    path = run_dir / _FILE
    if not path.exists():
        return None
    document = json.loads(path.read_text())
    for part in ("train", "select", "judge_old", "judge_recent"):
        document[part] = tuple(_example(value) for value in document[part])
    return Snapshot(**{**document, "classes": tuple(document["classes"])})


def _example(value: dict[str, Any]) -> Example:
    image = value["image"]
    return Example(**{**value, "image": Path(image["file"]) if isinstance(image, dict) else image})


def read_image(place: Workplace, example: Example) -> bytes:
    """The bytes of an example, from the manifest's folder or from the object store."""
    if isinstance(example.image, Path):
        return example.image.read_bytes()
    return place.objects.get(example.image)


def manifest_examples(place: Workplace) -> tuple[Example, ...]:
    """The manifest's examples, each with its role."""
    data = place.settings.data
    return with_roles(read_manifest(data.manifest, data.group), role_key(place.engine))


def production_examples(
    place: Workplace, classes: Sequence[str], in_manifest: Container[str] = ()
) -> tuple[list[tuple[Example, datetime]], Counter[str]]:
    """
    Labelled predictions as examples with the time of their label, and how many cannot be used and why.

    An image whose class the model does not know, or whose bytes were not kept, cannot train or judge it. One whose
    bytes the manifest has (`in_manifest`, SHA-256) has its role there, and would get a second one here.
    """
    key = role_key(place.engine)
    usable: dict[str, tuple[Example, datetime]] = {}
    left_out: Counter[str] = Counter()
    for row in place.log.labelled().iter_rows(named=True):
        stored = image_key(row["image_sha256"])
        if row["true_label"] not in classes:
            left_out["class unknown to the model"] += 1
        elif row["image_sha256"] in in_manifest:
            left_out["in the manifest already"] += 1
        elif not row["image_kept"] or not place.objects.exists(stored):
            left_out["image not kept"] += 1
        else:
            metadata = {name: str(value) for name, value in json.loads(row["metadata"]).items()}
            group = metadata.get(place.settings.data.group, "") or row["image_sha256"]
            example = Example(image=stored, label=row["true_label"], metadata=metadata, group=group, source=PRODUCTION)
            if stored in usable:
                left_out["sent more than once"] += 1
            usable[stored] = (with_roles([example], key)[0], row["labelled_at"])
    return list(usable.values()), left_out


def replay(examples: Sequence[Example], most: int, seed: int) -> tuple[Example, ...]:
    """
    A class-balanced draw of at most `most` examples, the same for the same seed.

    Within a class the order is a hash of group and seed, so a draw changes little when examples are added.
    """
    by_class: dict[str, list[Example]] = defaultdict(list)
    for example in sorted(examples, key=lambda example: _shuffle_key(example, seed)):
        by_class[example.label].append(example)
    drawn: list[Example] = []
    while len(drawn) < most and any(by_class.values()):
        for label in sorted(by_class):
            if by_class[label] and len(drawn) < most:
                drawn.append(by_class[label].pop(0))
    return tuple(drawn)


def by_role(examples: Iterable[Example]) -> dict[str, list[Example]]:
    """The examples of each role, in their order."""
    roles: dict[str, list[Example]] = {"train": [], "select": [], "judge": []}
    for example in examples:
        roles[example.split].append(example)
    return roles


def _one_role_each(examples: Sequence[Example]) -> tuple[list[Example], Counter[str], set[str]]:
    """
    The examples without copies that have another role, how many those are, and the SHA-256 of every image.

    Of images with the same bytes the most guarded role counts: what judges must neither select nor train.
    """
    content = {example.image: sha256_of(Path(example.image)) for example in examples}
    role: dict[str, int] = {}
    for example in examples:
        guard = ROLES.index(example.split)
        role[content[example.image]] = max(guard, role.get(content[example.image], guard))
    kept = [example for example in examples if ROLES.index(example.split) == role[content[example.image]]]
    copies = len(examples) - len(kept)
    return kept, Counter({"copies of images that judge or select": copies} if copies else {}), set(role)


def _snapshot(
    classes: tuple[str, ...],
    roles: Mapping[str, Sequence[Example]],
    recent: Sequence[Example],
    left_out: Mapping[str, int],
) -> Snapshot:
    snapshot = Snapshot(
        classes=classes,
        train=tuple(roles["train"]),
        select=tuple(roles["select"]),
        judge_old=tuple(roles["judge"]),
        judge_recent=tuple(recent),
        left_out=dict(left_out),
        fingerprint="",
    )
    return replace(snapshot, fingerprint=_fingerprint(snapshot))


def _fingerprint(snapshot: Snapshot) -> str:
    parts = (snapshot.train, snapshot.select, snapshot.judge_old, snapshot.judge_recent)
    lines = sorted(
        f"{example.image}\t{example.label}\t{example.split}\t{example.source}" for part in parts for example in part
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _shuffle_key(example: Example, seed: int) -> bytes:
    return hashlib.sha256(f"{seed}\t{example.group}\t{example.image}".encode()).digest()
