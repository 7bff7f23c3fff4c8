"""
Collecting: what a training sees, from the manifest and from labelled production images.

Each group of images has one role for ever. Judge images never enter the run directory: only the gate reads them.
Their bytes are hashed here, and compared with what trains: see `flows.collecting.copies`.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import partial
from pathlib import Path

from flows.collecting.copies import Kept, one_role_each
from flows.collecting.from_manifest import excluded_images, exclusion_path, manifest_examples
from flows.collecting.from_production import production_examples
from flows.collecting.images import content_of, read_image
from flows.collecting.replay import replay
from flows.collecting.snapshot import PRODUCTION, Snapshot, fingerprinted
from flows.fingerprints import UNREADABLE, fingerprints_of
from flows.workplace import Workplace
from infra.clock import now
from models.examples import Example, check_roles, classes_of
from models.registry import ModelVersion


def first_snapshot(place: Workplace) -> Snapshot:
    """
    The manifest alone, for a first model or a new start.

    Raises:
        UserError: the manifest cannot be used, or a class has no image in some role.
    """
    started = now()
    kept, contents = _one_role_each(place, manifest_examples(place))
    check_roles(kept.examples, kept.left_out)
    return _snapshot(classes_of(kept.examples), by_role(kept.examples), (), kept, contents, started)


def retrain_snapshot(place: Workplace, champion: ModelVersion, classes: tuple[str, ...]) -> Snapshot:
    """
    Labelled production images together with replayed old ones, for a successor of `champion`.

    Old are production images whose label the champion's own snapshot has seen: they trained it, or were judged then.
    What was labelled while it trained is fresh.
    """
    started = now()
    production, unusable = production_examples(place, classes)
    kept, contents = _one_role_each(place, [*manifest_examples(place), *(one.example for one in production)])
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
    found = _snapshot(classes, roles, new["judge"], kept, contents, until)
    return replace(found, fresh_select=len(new["select"]))


def by_role(examples: Iterable[Example]) -> dict[str, list[Example]]:
    """The examples of each role, in their order."""
    roles: dict[str, list[Example]] = {"train": [], "select": [], "judge": []}
    for example in examples:
        roles[example.split].append(example)
    return roles


def _one_role_each(place: Workplace, examples: Sequence[Example]) -> tuple[Kept, dict[Path | str, str]]:
    """What may be used, and the SHA-256 of every image."""
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
    readers: dict[str, Callable[[], bytes]] = {
        content[example.image]: partial(read_image, place, example) for example in examples
    }
    fingerprints = fingerprints_of(place.settings, readers)
    readable = [example for example in examples if fingerprints[content[example.image]] != UNREADABLE]
    kept = one_role_each(
        readable,
        content,
        fingerprints,
        place.settings.data.near_duplicate_distance,
        excluded_images(place),
        exclusion_path(place).name,
    )
    beside = Counter({"in the manifest already": len(again), "cannot be decoded": len(examples) - len(readable)})
    return replace(kept, left_out=Counter(kept.left_out) + beside), content


def _snapshot(
    classes: tuple[str, ...],
    roles: Mapping[str, Sequence[Example]],
    recent: Sequence[Example],
    kept: Kept,
    contents: Mapping[Path | str, str],
    labels_until: datetime,
) -> Snapshot:
    used = (*roles["train"], *roles["select"], *roles["judge"], *recent)
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
        files={str(one.image): contents[one.image] for one in used if isinstance(one.image, Path)},
    )
    return fingerprinted(snapshot)
