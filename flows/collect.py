"""
Collecting: a run directory that needs nothing else, from the manifest and from labelled production images.

Each group of images has one role for ever. Judge images never enter the run directory: only the gate reads them.
Their bytes are hashed here, and compared with what trains: see `flows.copies`.
"""

import hashlib
import json
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any

from flows.copies import Kept, one_role_each
from flows.fingerprints import fingerprints_of
from flows.replay import replay
from flows.workplace import Workplace, role_key
from infra.clock import now
from infra.errors import UserError
from infra.files import sha256_of, write_atomically
from infra.objects import ObjectMissing
from models.examples import Example, check_roles, classes_of, every_role_filled, read_manifest, with_roles
from models.manifest import read_rows
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
        remarks: What was used but should be looked at, each a sentence.
        labels_until: When the newest label that this snapshot has seen was given; later ones are fresh to what is
            trained on it. The same images taken twice are the same snapshot, whatever the hour.
    """

    classes: tuple[str, ...]
    train: tuple[Example, ...]
    select: tuple[Example, ...]
    judge_old: tuple[Example, ...]
    judge_recent: tuple[Example, ...]
    left_out: Mapping[str, int]
    fingerprint: str
    remarks: tuple[str, ...] = ()
    labels_until: datetime | None = field(default=None, compare=False)

    @property
    def fresh(self) -> int:
        """How many training images came from production."""
        return sum(example.source == PRODUCTION for example in self.train)


def first_snapshot(place: Workplace) -> Snapshot:
    """
    The manifest alone, for a first model or a new start.

    Raises:
        UserError: the manifest cannot be used, or a class has no image in some role.
    """
    started = now()
    kept = _one_role_each(place, manifest_examples(place))
    check_roles(kept.examples, kept.left_out)
    return _snapshot(classes_of(kept.examples), by_role(kept.examples), (), kept, started)


def retrain_snapshot(place: Workplace, champion: ModelVersion, classes: tuple[str, ...]) -> Snapshot:
    """
    Labelled production images together with replayed old ones, for a successor of `champion`.

    Old are production images whose label the champion's own snapshot has seen: they trained it, or were judged then.
    What was labelled while it trained is fresh.
    """
    started = now()
    production, unusable = production_examples(place, classes)
    kept = _one_role_each(place, [*manifest_examples(place), *(one.example for one in production)])
    kept = replace(kept, left_out=Counter(kept.left_out) + unusable)
    fresh_images = {one.example.image for one in production if one.labelled_at > champion.fresh_since}
    fresh = [example for example in kept.examples if example.image in fresh_images]
    old = by_role(example for example in kept.examples if example.image not in fresh_images)
    new = by_role(fresh)
    train, subgroups = place.settings.train, place.settings.data.subgroups
    roles = {
        "train": [*replay(old["train"], train.replay_images, train.seed, subgroups), *new["train"]],
        "select": [*old["select"], *new["select"]],
        "judge": old["judge"],
    }
    # Not the present moment: a label may still be on its way to the log. And not the future, if some clock is wrong.
    until = min(started, max((one.labels_until for one in production), default=started))
    return _snapshot(classes, roles, new["judge"], kept, until)


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
    write_atomically(run_dir / _FILE, json.dumps(asdict(snapshot), default=_plain))


def kept_snapshot(run_dir: Path) -> Snapshot | None:
    """The snapshot of a run directory that was filled before; None where it was not, or not to its end."""
    path = run_dir / _FILE
    if not path.exists():
        return None
    document = json.loads(path.read_text())
    for part in ("train", "select", "judge_old", "judge_recent"):
        document[part] = tuple(_example(value) for value in document[part])
    until = document.get("labels_until")
    return Snapshot(
        **{
            **document,
            "classes": tuple(document["classes"]),
            "remarks": tuple(document.get("remarks", ())),
            "labels_until": None if until is None else datetime.fromisoformat(until),
        }
    )


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else {"file": str(value)}


def _example(value: dict[str, Any]) -> Example:
    image = value["image"]
    return Example(**{**value, "image": Path(image["file"]) if isinstance(image, dict) else image})


def read_image(place: Workplace, example: Example) -> bytes:
    """
    The bytes of an example, from the manifest's folder or from the object store.

    Raises:
        UserError: a production image that is not kept any more.
    """
    if isinstance(example.image, Path):
        return example.image.read_bytes()
    try:
        return place.objects.get(example.image)
    except ObjectMissing as error:
        raise UserError(
            f"The image {example.image} is not kept any more: it was forgotten, or past its time by [retention]. "
            "Run the same command again: it then chooses among the images that are left."
        ) from error


def manifest_examples(place: Workplace) -> tuple[Example, ...]:
    """The manifest's examples, each with its role."""
    data = place.settings.data
    examples = read_manifest(data.manifest, data.group)
    return with_roles(examples, role_key(place.engine, lambda key: every_role_filled(with_roles(examples, key))))


@dataclass(frozen=True)
class Labelled:
    """
    A labelled production image.

    Attributes:
        labelled_at: When it was first labelled, under whichever prediction; what counts for being fresh.
        labels_until: When its newest label was given.
    """

    example: Example
    labelled_at: datetime
    labels_until: datetime


def production_examples(place: Workplace, classes: Sequence[str]) -> tuple[list[Labelled], Counter[str]]:
    """
    Labelled predictions, each picture once, and how many cannot be used and why.

    An image whose class the model does not know, or whose bytes were not kept, cannot train or judge it. One that
    was sent more than once has the role of its first sending, under whatever group it comes again; with different
    labels it is not used at all.
    """
    left_out: Counter[str] = Counter()
    rows_of: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in place.log.labelled().iter_rows(named=True):
        if row["true_label"] not in classes:
            left_out["class unknown to the model"] += 1
        elif not row["image_kept"] or not place.objects.exists(image_key(row["image_sha256"])):
            left_out["image not kept"] += 1
        else:
            rows_of[row["image_sha256"]].append(row)
    first_sent = place.log.first_metadata(list(rows_of))
    usable = []
    for content, rows in rows_of.items():
        if len({row["true_label"] for row in rows}) > 1:
            left_out["sent more than once, with different labels"] += len(rows)
            continue
        if len(rows) > 1:
            left_out["sent more than once"] += len(rows) - 1
        metadata = {name: str(value) for name, value in first_sent[content].items()}
        group = metadata.get(place.settings.data.group, "") or content
        label = rows[0]["true_label"]
        example = Example(image_key(content), label, metadata=metadata, group=group, source=PRODUCTION)
        times = [row["labelled_at"] for row in rows]
        usable.append(Labelled(example, min(times), max(times)))
    roles = with_roles((one.example for one in usable), role_key(place.engine))
    return [replace(one, example=example) for one, example in zip(usable, roles, strict=True)], left_out


def excluded_images(place: Workplace) -> frozenset[Path | str]:
    """
    The images that `data.exclude` names: manifest images from the manifest's folder, production images by their key.

    Raises:
        UserError: the file is not there, or has no column image.
    """
    if not place.settings.data.exclude:
        return frozenset()
    path = exclusion_path(place)
    if not path.is_file():
        raise UserError(
            f"data.exclude names {path}, which is not there. Expected a CSV file with a column image; "
            '`kedge data --label-errors --out FILE` writes one, and "" excludes nothing.'
        )
    manifest = place.settings.data.manifest
    folder = manifest if manifest.is_dir() else manifest.parent
    named = [row.values["image"] for row in read_rows(path, ["image"])]
    return frozenset(named) | frozenset(folder / name for name in named)


def exclusion_path(place: Workplace) -> Path:
    """Where `data.exclude` points, from the project's folder."""
    return (place.settings.root / Path(place.settings.data.exclude).expanduser()).resolve()


def by_role(examples: Iterable[Example]) -> dict[str, list[Example]]:
    """The examples of each role, in their order."""
    roles: dict[str, list[Example]] = {"train": [], "select": [], "judge": []}
    for example in examples:
        roles[example.split].append(example)
    return roles


def _one_role_each(place: Workplace, examples: Sequence[Example]) -> Kept:
    content = {example.image: content_of(example) for example in examples}
    in_manifest = {content[example.image] for example in examples if example.source != PRODUCTION}
    # Of manifest and production the manifest's copy is used, for there it has its role; a contradiction is none's.
    known = {(content[example.image], example.label) for example in examples if example.source != PRODUCTION}
    again = [
        example
        for example in examples
        if example.source == PRODUCTION
        and content[example.image] in in_manifest
        and (content[example.image], example.label) in known
    ]
    repeated = {example.image for example in again}
    examples = [example for example in examples if example.image not in repeated]
    distance = place.settings.data.near_duplicate_distance
    readers: dict[str, Callable[[], bytes]] = {
        content[example.image]: partial(read_image, place, example) for example in examples
    }
    kept = one_role_each(
        examples,
        content,
        fingerprints_of(place.settings, readers) if distance else {},
        distance,
        excluded_images(place),
        exclusion_path(place).name,
    )
    return replace(kept, left_out=Counter(kept.left_out) + Counter({"in the manifest already": len(again)}))


def content_of(example: Example) -> str:
    """The SHA-256 of an example's bytes; of a production image it is in its key."""
    return sha256_of(example.image) if isinstance(example.image, Path) else example.image.rpartition("/")[2]


def _snapshot(
    classes: tuple[str, ...],
    roles: Mapping[str, Sequence[Example]],
    recent: Sequence[Example],
    kept: Kept,
    labels_until: datetime,
) -> Snapshot:
    snapshot = Snapshot(
        classes=classes,
        train=tuple(roles["train"]),
        select=tuple(roles["select"]),
        judge_old=tuple(roles["judge"]),
        judge_recent=tuple(recent),
        left_out=dict(kept.left_out),
        fingerprint="",
        remarks=kept.remarks,
        labels_until=labels_until,
    )
    return replace(snapshot, fingerprint=_fingerprint(snapshot))


def _fingerprint(snapshot: Snapshot) -> str:
    parts = (snapshot.train, snapshot.select, snapshot.judge_old, snapshot.judge_recent)
    lines = sorted(
        f"{example.image}\t{example.label}\t{example.split}\t{example.source}" for part in parts for example in part
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
