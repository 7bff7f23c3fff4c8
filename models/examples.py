"""Labelled images: read from a manifest or a folder per class, checked as a whole, given their roles for ever."""

import hmac
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from infra.errors import UserError
from models.manifest import ManifestRow, read_rows

ROLES = ("train", "select", "judge")
LEAST_IMAGES_PER_CLASS = 10

_SHARES = ((0.70, "train"), (0.85, "select"), (1.01, "judge"))
_SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"})
_NAMED = 5  # examples of one mistake that are named before "…"


@dataclass(frozen=True)
class Example:
    """
    One labelled image.

    Attributes:
        image: a file, or a key in the object store.
        split: its role (train, select or judge); empty where none was given yet.
        captured_on: as the manifest says it; empty where unknown.
        metadata: every further column, as text.
        group: images of one group share one role; the image itself where no grouping is known.
        source: manifest or production.
    """

    image: Path | str
    label: str
    split: str = ""
    captured_on: str = ""
    metadata: Mapping[str, str] = field(default_factory=dict)
    group: str = ""
    source: str = "manifest"


@dataclass(frozen=True)
class DataSummary:
    """Counts of images: in all, per class, per role, per value of each metadata column."""

    images: int
    classes: Mapping[str, int]
    roles: Mapping[str, int]
    metadata: Mapping[str, Mapping[str, int]]


def read_manifest(
    path: Path, group_column: str = "", least_images_per_class: int = LEAST_IMAGES_PER_CLASS
) -> tuple[Example, ...]:
    """
    The examples of a CSV or Parquet manifest, or of a folder that has one folder per class.

    Relative image paths start beside the manifest. An image listed twice with one label counts once.

    Raises:
        UserError: with every mistake that was found, not only the first.
    """
    if path.is_dir():
        return read_folder(path, least_images_per_class)
    if not path.is_file():
        raise UserError(
            f"the manifest {path} does not exist; data.manifest in kedge.toml names a CSV or Parquet file "
            "with the columns image and label, or a folder that has one folder per class"
        )
    rows = read_rows(path, ["image", "label", *([group_column] if group_column else [])])
    mistakes = _row_mistakes(path, rows)
    examples = _examples(path, rows, group_column)
    _raise_all(path, [*mistakes, *_class_mistakes(examples, least_images_per_class)])
    return examples


def read_folder(path: Path, least_images_per_class: int = LEAST_IMAGES_PER_CLASS) -> tuple[Example, ...]:
    """The examples of a folder whose sub-folders are named as the classes; files that are no images are left out."""
    _raise_all(path, _folder_mistakes(path))
    examples = tuple(
        Example(image=file, label=folder.name, group=f"{folder.name}/{file.relative_to(folder).as_posix()}")
        for folder in sorted(path.iterdir())
        if folder.is_dir() and not folder.name.startswith(".")
        for file in sorted(folder.rglob("*"))
        if file.suffix.lower() in _SUFFIXES
    )
    _raise_all(path, _class_mistakes(examples, least_images_per_class))
    return examples


def role_of(group: str, key: bytes) -> str:
    """
    The role of a group of images: train 70, select 15, judge 15 in a hundred, by a keyed hash.

    The same group and key give the same role for ever, whatever other data come or go.
    """
    digest = hmac.digest(key, group.encode(), "sha256")
    place = int.from_bytes(digest[:8]) / 2**64
    return next(role for share, role in _SHARES if place < share)


def with_roles(examples: Iterable[Example], key: bytes) -> tuple[Example, ...]:
    """The examples, each with a role: the manifest's own where it gives one, else that of its group."""
    return tuple(
        example if example.split else replace(example, split=role_of(example.group, key)) for example in examples
    )


def every_role_filled(examples: Iterable[Example]) -> bool:
    """Whether every class has an image in every role."""
    found = {(example.label, example.split) for example in examples}
    return len(found) == len(ROLES) * len({label for label, _ in found})


def check_roles(examples: Sequence[Example], left_out: Mapping[str, int] | None = None) -> None:
    """
    Every class must have an image in every role.

    Args:
        examples: each with its role.
        left_out: how many are not among them, by reason; told where a role is empty.

    Raises:
        UserError: naming each class and role that is empty.
    """
    counts = Counter((example.label, example.split) for example in examples)
    totals = Counter(example.label for example in examples)
    empty = [
        f"class {label!r} has no {role} image among its {totals[label]}"
        for label in sorted(totals)
        for role in ROLES
        if not counts[label, role]
    ]
    if empty:
        raise UserError(
            "the images cannot be divided into training, selection and judging:\n  "
            + "\n  ".join(empty)
            + "\nadd images of these classes, or say in a split column which image serves for what "
            "(train, select, judge)"
            + "".join(f"\nleft out: {count}, {reason}" for reason, count in (left_out or {}).items())
        )


def classes_of(examples: Iterable[Example]) -> tuple[str, ...]:
    """The labels that occur, sorted."""
    return tuple(sorted({example.label for example in examples}))


def summarise(examples: Sequence[Example]) -> DataSummary:
    """Counts, each mapping sorted by name."""
    columns: dict[str, Counter[str]] = defaultdict(Counter)
    for example in examples:
        for column, value in example.metadata.items():
            columns[column][value] += 1
    return DataSummary(
        images=len(examples),
        classes=dict(sorted(Counter(example.label for example in examples).items())),
        roles=dict(sorted(Counter(example.split or "by hash" for example in examples).items())),
        metadata={column: dict(sorted(counts.items())) for column, counts in sorted(columns.items())},
    )


def _row_mistakes(path: Path, rows: Sequence[ManifestRow]) -> list[str]:
    folder = path.parent
    named = [row for row in rows if row.values["image"]]
    unnamed = [f"row {row.number}" for row in rows if not row.values["image"]]
    missing = [
        f"{row.values['image']} (row {row.number})" for row in named if not (folder / row.values["image"]).is_file()
    ]
    unlabelled = [f"{row.values['image']} (row {row.number})" for row in named if not row.values["label"]]
    strange = [
        f"{row.values['split']!r} (row {row.number})" for row in rows if row.values.get("split", "") not in ("", *ROLES)
    ]
    total = len(rows)
    mistakes = []
    if unnamed:
        mistakes.append(f"{len(unnamed)} of {total} rows name no image: {_some(unnamed)}")
    if missing:
        mistakes.append(f"{_of(missing, total)} missing: {_some(missing)}")
    if unlabelled:
        mistakes.append(f"{_of(unlabelled, total)} without a label: {_some(unlabelled)}")
    if strange:
        mistakes.append(
            f"split may be train, select, judge or empty; {len(strange)} of {total} rows say otherwise: "
            f"{_some(strange)}"
        )
    return mistakes + _conflicts(named)


def _conflicts(rows: Sequence[ManifestRow]) -> list[str]:
    seen: dict[str, ManifestRow] = {}
    conflicts = []
    for row in rows:
        first = seen.setdefault(row.values["image"], row)
        if first.values["label"] != row.values["label"]:
            conflicts.append(
                f"{row.values['image']} is {first.values['label']!r} in row {first.number} "
                f"and {row.values['label']!r} in row {row.number}"
            )
    if not conflicts:
        return []
    return [f"{len(conflicts)} images are listed twice with different labels: {_some(conflicts)}"]


def _examples(path: Path, rows: Sequence[ManifestRow], group_column: str) -> tuple[Example, ...]:
    plain = {"image", "label", "split", "captured_on"}
    first_of: dict[str, Example] = {}
    for row in rows:
        values = row.values
        name = values["image"]
        first_of.setdefault(
            name,
            Example(
                image=path.parent / name,
                label=values["label"],
                split=values.get("split", ""),
                captured_on=values.get("captured_on", ""),
                metadata={column: value for column, value in values.items() if column not in plain},
                group=(values.get(group_column, "") if group_column else "") or name,
            ),
        )
    return tuple(first_of.values())


def _folder_mistakes(path: Path) -> list[str]:
    inside = [entry for entry in path.iterdir() if not entry.name.startswith(".")]
    if any(entry.is_dir() for entry in inside):
        return []
    loose = sum(entry.suffix.lower() in _SUFFIXES for entry in inside)
    found = f"{loose} images and no folder" if loose else "nothing" if not inside else "no folder"
    return [f"it holds {found}; expected one folder per class, named as the class, with its images in it"]


def _class_mistakes(examples: Sequence[Example], least: int) -> list[str]:
    counts = Counter(example.label for example in examples if example.label)
    if not counts:
        return ["it has no labelled image"]
    if len(counts) == 1:
        only = next(iter(counts))
        return [f"all {counts[only]} images are of one class, {only!r}; a classifier needs at least two"]
    few = [f"{label!r} has {count}" for label, count in sorted(counts.items()) if count < least]
    if not few:
        return []
    return [f"too few images of {len(few)} classes; each needs at least {least}: {_some(few)}"]


def _of(found: Sequence[str], total: int) -> str:
    return f"{len(found)} of {total} images {'is' if len(found) == 1 else 'are'}"


def _some(found: Sequence[str]) -> str:
    return ", ".join([*found[:_NAMED], *(["…"] if len(found) > _NAMED else [])])


def _raise_all(path: Path, mistakes: Sequence[str]) -> None:
    if mistakes:
        raise UserError(f"{path} cannot be used:\n  " + "\n  ".join(mistakes))
