"""
The demo's world: real scans of handwritten digits, seen through simulated cameras.

The digits are scikit-learn's copy of the UCI "Optical Recognition of Handwritten Digits" test set (1,797 real
scans, 8 by 8 grey levels). The cameras are simulated, and their names say so.
"""

import csv
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

OLD_CAMERAS = ("simulated-A", "simulated-B")
NEW_CAMERA = "simulated-C"
SIDE = 32
# Originals by purpose: no digit that trains is ever sent, and none that is sent judges the first model.
_TRAIN, _SELECT, _JUDGE = 900, 150, 250


@dataclass(frozen=True)
class Digit:
    """
    One original scan.

    Attributes:
        number: Its place in scikit-learn's set: names the group that all its copies belong to.
        pixels: Grey levels, shape (8, 8), 0 (paper) to 16 (ink).
    """

    number: int
    label: str
    pixels: NDArray[np.float64]


@dataclass(frozen=True)
class Sending:
    """One image as a camera sends it, with the truth that only the demo knows."""

    png: bytes
    label: str
    camera: str
    original: str


@dataclass(frozen=True)
class World:
    """The originals by purpose; the purposes share no original."""

    train: tuple[Digit, ...]
    select: tuple[Digit, ...]
    judge: tuple[Digit, ...]
    traffic: tuple[Digit, ...]


def build_world(seed: int) -> World:
    """Split the 1,797 originals at random, by `seed`."""
    from sklearn.datasets import load_digits

    images, labels = load_digits(return_X_y=True)
    digits = [
        Digit(number, str(label), pixels.reshape(8, 8))
        for number, (pixels, label) in enumerate(zip(images, labels, strict=True))
    ]
    order = np.random.default_rng(seed).permutation(len(digits))
    shuffled = [digits[index] for index in order]
    edges = np.cumsum([_TRAIN, _SELECT, _JUDGE])
    train, select, judge, traffic = (
        tuple(shuffled[start:end]) for start, end in zip([0, *edges], [*edges, len(digits)], strict=True)
    )
    return World(train, select, judge, traffic)


def photograph(digit: Digit, camera: str, chance: np.random.Generator) -> Sending:
    """The digit as `camera` sees it this time: every sending is distorted afresh."""
    shades = _SHADES[camera]
    image = Image.fromarray((digit.pixels / 16 * 255).astype(np.uint8)).resize((SIDE, SIDE), Image.Resampling.BICUBIC)
    image = image.rotate(chance.uniform(*shades.rotation_degrees), Image.Resampling.BILINEAR, translate=_shift(chance))
    if shades.blur_pixels:
        image = image.filter(ImageFilter.GaussianBlur(shades.blur_pixels * chance.uniform(0.7, 1.3)))
    ink = np.asarray(image, dtype=np.float64) / 255
    grey = 1 - ink if shades.inverted else ink
    colour = grey[..., None] * np.array(shades.tint) * chance.uniform(0.85, 1.0)
    noisy = np.clip(colour + chance.normal(0, shades.noise, colour.shape), 0, 1)
    return Sending(_png(noisy), digit.label, camera, f"digit-{digit.number:04d}")


def write_project_data(world: World, folder: Path, seed: int) -> Path:
    """Write the training images and their manifest, as a user would bring them; gives the manifest's path."""
    chance = np.random.default_rng([seed, 1])
    (folder / "images").mkdir(parents=True, exist_ok=True)
    manifest = folder / "manifest.csv"
    with manifest.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "label", "split", "camera", "original"])
        for split, digits in (("train", world.train), ("select", world.select), ("judge", world.judge)):
            for index, digit in enumerate(digits):
                sending = photograph(digit, OLD_CAMERAS[index % len(OLD_CAMERAS)], chance)
                name = f"images/{split}-{sending.original}.png"
                (folder / name).write_bytes(sending.png)
                writer.writerow([name, sending.label, split, sending.camera, sending.original])
    return manifest


@dataclass(frozen=True)
class _Shades:
    """How one camera sees: the standard deviation of its noise is in 0..1."""

    tint: tuple[float, float, float]
    noise: float
    rotation_degrees: tuple[float, float]
    blur_pixels: float = 0.0
    inverted: bool = False


_SHADES = {
    "simulated-A": _Shades((1.0, 1.0, 1.0), 0.02, (-5, 5)),
    "simulated-B": _Shades((1.0, 0.94, 0.85), 0.04, (-5, 5)),
    NEW_CAMERA: _Shades((0.9, 0.96, 1.0), 0.08, (10, 25), blur_pixels=0.8, inverted=True),
}


def _shift(chance: np.random.Generator) -> tuple[int, int]:
    across, down = chance.integers(-1, 2, 2)
    return int(across), int(down)


def _png(pixels: NDArray[np.float64]) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray((pixels * 255).round().astype(np.uint8)).save(buffer, "PNG")
    return buffer.getvalue()
