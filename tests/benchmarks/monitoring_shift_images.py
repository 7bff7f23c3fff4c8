"""Images with and without a shift, scored once by a small network: afterwards a trial only draws rows."""

import os
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from scipy import ndimage
from sklearn.datasets import load_digits
from sklearn.neural_network import MLPClassifier

from monitoring.image_stats import sample_of, statistics_of_all
from monitoring.watching.batch import Batch
from tests.benchmarks.datasets import unpacked

Pictures = NDArray[np.uint8]
Floats = NDArray[np.float64]

SHIFTS = (
    "small noise", "medium noise", "large noise", "small image shift", "medium image shift", "large image shift",
    "knock-out", "medium image shift + knock-out", "only zero + medium image shift",
)  # fmt: skip
# Failing Loudly, section 4: deviation of the noise in grey levels; degrees, share of the side, shear, zoom, mirrored.
_NOISE = {"small noise": 1.0, "medium noise": 10.0, "large noise": 100.0}
_MOVES = {
    "small image shift": (10.0, 0.05, 0.1, 0.1, False),
    "medium image shift": (40.0, 0.2, 0.2, 0.2, True),
    "large image shift": (90.0, 0.4, 0.3, 0.4, True),
}
_METERS = frozenset({"new", "powermeter-unknown", "gasmeter-GMT"})
_MOST_IMAGES, _HIDDEN, _SIDE = 3_000, 64, 32
_IMAGES = Path("build") / "bench-monitoring"


@dataclass(frozen=True)
class Scores:
    """What the network and the statistics say of each image of the pool, in one version of the pictures."""

    probabilities: Floats
    embedding: Floats
    statistics: Floats

    def rows(self, places: NDArray[np.intp]) -> "Scores":
        return Scores(self.probabilities[places], self.embedding[places], self.statistics[places])

    def batch(self) -> Batch:
        labels = tuple(str(label) for label in self.probabilities.argmax(axis=1))
        return Batch(self.statistics, self.probabilities, self.embedding, labels, ({},) * len(labels))


@dataclass(frozen=True)
class Pool:
    """
    Images that the network was not trained on: the population that reference and windows are drawn from.

    Attributes:
        truth: shape (N,): digits.
        plain: The pictures as they are.
        shifted: The name of a change to the same pictures under it.
    """

    truth: NDArray[np.intp]
    plain: Scores
    shifted: Mapping[str, Scores]

    def window(self, shift: str, delta: float, count: int, chance: np.random.Generator) -> Scores:
        """Drawn with replacement; `shift` "" = none, delta: the share of rows (of zeros, for a knock-out) it meets."""
        weights = np.ones(len(self.truth))
        if shift.startswith("only zero"):
            weights[self.truth != 0] = 0
        if shift.endswith("knock-out"):
            weights[self.truth == 0] = max(0.0, 1 - delta)
        places = chance.choice(len(self.truth), count, p=weights / weights.sum())
        found = self.plain.rows(places)
        change = next((name for name in self.shifted if name in shift), "")
        if not change:
            return found
        met = chance.random(count) < (0.5 if shift.endswith("+ knock-out") else delta)
        other = self.shifted[change].rows(places)
        return Scores(*(np.where(met[:, None], vars(other)[name], vars(found)[name]) for name in vars(found)))


def pools() -> Iterator[tuple[str, Callable[[], Pool]]]:
    """The data sets that are there; meter_digits only where the environment says where it lies."""
    yield "digits", lambda: _kept("digits", _digits)
    named = os.environ.get("KEDGE_BENCH_DATA")
    if named and (Path(named) / "meter_digits" / "images.zip").is_file():
        yield "meter_digits", lambda: _kept("meter_digits", lambda: _meters(Path(named)))


def _kept(name: str, read: Callable[[], tuple[Pictures, NDArray[np.intp]]]) -> Pool:
    file = _IMAGES / f"shift-{name}.npz"
    if not file.is_file():
        file.parent.mkdir(parents=True, exist_ok=True)
        np.savez_compressed(file, **_scored(*read()))
    with np.load(file) as arrays:
        versions = sorted({key.split("/")[0] for key in arrays if "/" in key})
        scores = {
            version: Scores(*(arrays[f"{version}/{part}"] for part in ("probabilities", "embedding", "statistics")))
            for version in versions
        }
        return Pool(arrays["truth"], scores.pop("plain"), scores)


def _scored(pictures: Pictures, truth: NDArray[np.intp]) -> dict[str, Floats | NDArray[np.intp]]:
    chance = np.random.default_rng(7)
    order = chance.permutation(len(pictures))
    trained, pool = order[: len(order) // 2], order[len(order) // 2 :]
    network = MLPClassifier((_HIDDEN,), max_iter=200, alpha=0.1, tol=1e-3, random_state=0)
    network.fit(_inputs(pictures[trained]), truth[trained])
    found: dict[str, Floats | NDArray[np.intp]] = {"truth": truth[pool]}
    versions = {"plain": pictures[pool]}
    versions |= {name: _noisy(pictures[pool], deviation, chance) for name, deviation in _NOISE.items()}
    versions |= {name: _moved(pictures[pool], move, chance) for name, move in _MOVES.items()}
    for name, images in versions.items():
        inputs = _inputs(images)
        found[f"{name}/probabilities"] = network.predict_proba(inputs)
        found[f"{name}/embedding"] = np.maximum(0, inputs @ network.coefs_[0] + network.intercepts_[0])
        found[f"{name}/statistics"] = statistics_of_all([sample_of(image) for image in images]).astype(np.float64)
    return found


def _inputs(pictures: Pictures) -> Floats:
    grey = pictures.mean(axis=3) / 255
    step = max(1, grey.shape[1] // 16)
    flat: Floats = grey[:, ::step, ::step].reshape(len(grey), -1)
    spread = np.maximum(flat.std(axis=1, keepdims=True), 1e-3)
    centred: Floats = (flat - flat.mean(axis=1, keepdims=True)) / spread
    return centred


def _noisy(pictures: Pictures, deviation: float, chance: np.random.Generator) -> Pictures:
    noise = chance.normal(0, deviation, pictures.shape[:3])[..., None]
    return np.clip(np.rint(pictures + noise), 0, 255).astype(np.uint8)


def _moved(pictures: Pictures, move: tuple[float, float, float, float, bool], chance: np.random.Generator) -> Pictures:
    degrees, share, shear, zoom, mirrored = move
    moved = np.empty_like(pictures)
    for place, picture in enumerate(pictures):
        angle, slant = np.deg2rad(chance.uniform(-degrees, degrees)), np.deg2rad(chance.uniform(-shear, shear) * 57.3)
        turn = np.array([[np.cos(angle), -np.sin(angle + slant)], [np.sin(angle), np.cos(angle + slant)]])
        matrix = turn @ np.diag(chance.uniform(1 - zoom, 1 + zoom, 2))
        side = np.array(picture.shape[:2])
        offset = side / 2 - matrix @ (side / 2) + chance.uniform(-share, share, 2) * side
        for channel in range(3):
            moved[place, :, :, channel] = ndimage.affine_transform(
                picture[:, :, channel], matrix, offset, order=1, mode="nearest"
            )
        if mirrored and chance.random() < 0.5:
            moved[place] = moved[place, :, ::-1]
    return moved


def _digits() -> tuple[Pictures, NDArray[np.intp]]:
    images, truth = load_digits(return_X_y=True)
    grey = np.rint(images.reshape(-1, 8, 8) * (255 / 16)).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=3), truth.astype(np.intp)


def _meters(data: Path) -> tuple[Pictures, NDArray[np.intp]]:
    folder = unpacked(data, "meter_digits", _IMAGES)
    lines = [line.split(",") for line in (folder / "manifest.csv").read_text().splitlines()]
    rows = [dict(zip(lines[0], line, strict=True)) for line in lines[1:]]
    rows = [row for row in rows if row["device"] in _METERS and row["tenth"] in {"", "0", "1", "2"}]
    chosen = np.random.default_rng(7).permutation(len(rows))[:_MOST_IMAGES]
    pictures = [_read(folder / rows[place]["image"]) for place in chosen]
    return np.stack(pictures), np.array([int(rows[place]["label"]) for place in chosen], dtype=np.intp)


def _read(path: Path) -> Pictures:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB").resize((_SIDE, _SIDE), Image.Resampling.BILINEAR))
