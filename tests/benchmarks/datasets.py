"""Real images with a natural shift, split so that no near-copy of a test image is ever trained on."""

import csv
import hashlib
import os
import re
import zipfile
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from scipy.sparse.csgraph import connected_components

WEIGHTS = "mobilenetv2_100.keras_in1k.safetensors"
BACKBONE, MEAN_AND_STD = "mobilenetv2_100", (0.5, 0.5, 0.5)
OPTIONS: dict[str, Any] = {"pad_type": "same"}

_ENVIRONMENT = "KEDGE_BENCH_DATA"
_ALIKE = 0.95  # correlation of small pictures: the same thing photographed again
_SAME_TILE = 100  # shots apart; the next tile is hundreds of shots later


@dataclass(frozen=True)
class LabelledImage:
    """
    One image of a data set.

    Attributes:
        look: images of one look share one role: they show the same thing again.
        new: after the shift.
    """

    path: str
    label: str
    look: str
    new: bool


@dataclass(frozen=True)
class Described:
    """
    A data set as the benchmark uses it.

    Attributes:
        image_size: pixels a side.
        flip: a mirrored image keeps its label.
        shares: of the looks of every class that train and select; the others are for the test.
        most: images of the old domain that train, select and test, at most.
        replay: old images that train again when new ones have come, at most.
    """

    name: str
    image_size: int
    flip: bool
    shares: tuple[float, float]
    most: Mapping[str, int]
    replay: int
    read: Callable[[Path], list[LabelledImage]]


@dataclass(frozen=True)
class Split:
    """Images of one seed by role: train, select, test; of each, the old and the new ones."""

    old: Mapping[str, tuple[LabelledImage, ...]]
    new: Mapping[str, tuple[LabelledImage, ...]]
    classes: tuple[str, ...]


def data_folder(given: Path | None) -> Path:
    """
    Where the images and weights are: as given, or as the environment says.

    Raises:
        SystemExit: they are not part of the project, and nobody said where they are.
    """
    folder = given or (Path(os.environ[_ENVIRONMENT]) if os.environ.get(_ENVIRONMENT) else None)
    parts = ("meter_digits/images.zip", "magnetic_tile/images.zip", f"weights/{WEIGHTS}")
    missing = [part for part in parts if folder is None or not (folder / part).is_file()]
    if folder is None or missing:
        raise SystemExit(
            "The images and weights of this benchmark are not part of the project. Say with --data FOLDER or "
            f"{_ENVIRONMENT}=FOLDER where they are; missing {'there' if folder else 'are'}: {', '.join(missing)}"
        )
    return folder


def unpacked(data: Path, name: str, work: Path) -> Path:
    """The folder with a data set's images and manifest.csv, unpacked once under `work`."""
    folder = work / "images" / name
    if not (folder / "manifest.csv").is_file():
        folder.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(data / name / "images.zip") as archive:
            archive.extractall(folder)
        # Last, so that an interrupted unpacking is begun again.
        (folder / "manifest.csv").write_bytes((data / name / "manifest.csv").read_bytes())
    return folder


def split(images: Sequence[LabelledImage], described: Described, seed: int) -> Split:
    """By look within every class, so that rare classes occur in every role; another seed, another split."""
    role_of = _roles(images, described.shares, seed)
    roles: dict[tuple[bool, str], list[LabelledImage]] = defaultdict(list)
    for image in sorted(images, key=lambda image: _place(f"{seed} {image.path}")):
        role = role_of[image.look]
        if image.new or len(roles[False, role]) < described.most[role]:
            roles[image.new, role].append(image)
    old, new = ({role: tuple(roles[which, role]) for role in described.most} for which in (False, True))
    return Split(old, new, tuple(sorted({image.label for image in images})))


def meter_digits(folder: Path) -> list[LabelledImage]:
    """Whole digits of three groups of meters (old), and of LCD displays (new)."""
    old = {"new", "powermeter-unknown", "gasmeter-GMT"}  # one group of meters is called "new"
    displays = {"lcd", "lcd2"}
    rows = [row for row in _rows(folder) if row["tenth"] in {"", "0", "1", "2"} and row["device"] in old | displays]
    looks = _looks([folder / row["image"] for row in rows])
    return [
        LabelledImage(
            str(folder / row["image"]),
            row["label"],
            # Frames of one day show the same digit of the same meter; without a date, what looks alike is one.
            f"{row['device']} {row['captured_on']} {row['label']}" if row["captured_on"] else f"look {look}",
            row["device"] in displays,
        )
        for row, look in zip(rows, looks, strict=True)
    ]


def magnetic_tile(folder: Path) -> list[LabelledImage]:
    """Tiles under three exposures (old) and a fourth (new); every tile was shot under all four, one after the other."""
    rows = sorted(_rows(folder), key=lambda row: _shot(row["image"]))
    images, tile, before = [], 0, 0
    for row in rows:
        tile += _shot(row["image"]) - before > _SAME_TILE
        before = _shot(row["image"])
        images.append(LabelledImage(str(folder / row["image"]), row["label"], str(tile), row["exposure"] == "exp4"))
    return images


DATA_SETS = {
    described.name: described
    for described in (
        Described(
            "meter_digits", 48, False, (0.5, 0.15), {"train": 600, "select": 200, "test": 500}, 400, meter_digits
        ),
        Described(
            "magnetic_tile", 80, True, (0.5, 0.2), {"train": 400, "select": 200, "test": 300}, 400, magnetic_tile
        ),
    )
}


def _roles(images: Sequence[LabelledImage], shares: tuple[float, float], seed: int) -> dict[str, str]:
    labels: dict[str, Counter[str]] = defaultdict(Counter)
    sides: dict[str, bool] = {}
    for image in images:
        labels[image.look][image.label] += 1
        sides[image.look] = image.new
    of_class: dict[tuple[str, bool], list[str]] = defaultdict(list)
    for look, counts in labels.items():
        of_class[counts.most_common(1)[0][0], sides[look]].append(look)
    role_of = {}
    for looks in of_class.values():
        trained, selected = round(shares[0] * len(looks)), max(1, round(shares[1] * len(looks)))
        for position, look in enumerate(sorted(looks, key=lambda look: _place(f"{seed} {look}"))):
            before_test = "select" if position < trained + selected else "test"
            role_of[look] = "train" if position < trained else before_test
    return role_of


def _rows(folder: Path) -> list[dict[str, str]]:
    with (folder / "manifest.csv").open(newline="") as file:
        return list(csv.DictReader(file))


def _shot(image: str) -> int:
    found = re.search(r"num_(\d+)", image)
    if not found:
        raise ValueError(f"{image} has no number of its shot")
    return int(found[1])


def _looks(images: Sequence[Path]) -> list[int]:
    """One number for all images that are nearly the same, also by way of others."""
    small = [np.asarray(Image.open(image).convert("L").resize((16, 24)), dtype=float).ravel() for image in images]
    centred = np.array([(one - one.mean()) / (one.std() + 1e-6) for one in small])
    alike = centred @ centred.T / centred.shape[1] > _ALIKE
    return [int(look) for look in connected_components(alike)[1]]


def _place(text: str) -> float:
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:6]) / 2**48
