"""Meter digits as they arrived, device after device, answered by a classifier of the first three groups of meters."""

import csv
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import nn

from models.images import decode
from models.prediction import Prediction
from monitoring.image_stats import sample_of, statistics_of_all
from monitoring.reference.build import distorted
from monitoring.reference.fit import fit
from monitoring.reference.profile import ReferenceProfile
from monitoring.watching.batch import Batch
from tests.benchmarks.datasets import meter_digits, unpacked

Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]

CLASSES = tuple("0123456789")
FIRST = ("gasmeter-GMT", "powermeter-unknown", "new")
_SIDE, _AT_ONCE, _EPOCHS = 32, 64, 30
_WHOLE_DIGITS = {"", "0", "1", "2"}
_LEAST_ROWS = 500


@dataclass(frozen=True)
class Seen:
    """
    Images as the service measures them.

    Attributes:
        paths, truth, devices, days: N texts each; a day is "" where it is not known.
        statistics: shape (N, S).
        small: uint8 (N, 3, 32, 32), what the network is given.
    """

    paths: tuple[str, ...]
    truth: tuple[str, ...]
    devices: tuple[str, ...]
    days: tuple[str, ...]
    statistics: Floats
    small: Bytes

    def rows(self, places: Sequence[int] | NDArray[np.intp]) -> "Seen":
        given = (self.paths, self.truth, self.devices, self.days)
        texts = (tuple(values[place] for place in places) for values in given)
        return Seen(*texts, self.statistics[places], self.small[places])


class Champion(nn.Module):
    """Three convolutions and a head; gives logits and the 256 features before them."""

    def __init__(self) -> None:
        super().__init__()
        self.features = nn.Sequential(
            nn.Conv2d(3, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(16, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.AdaptiveAvgPool2d(2), nn.Flatten(),
        )  # fmt: skip
        self.head = nn.Linear(256, len(CLASSES))

    def forward(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        features = self.features(images)
        return self.head(features), features


@dataclass(frozen=True)
class World:
    """
    A champion, its reference, and what came after.

    Attributes:
        profile: Of held-out images of the first three groups.
        later: Every other image, in the order of arrival: devices by their first date, the undated last.
        home: Images of the first three groups that were neither trained on nor in the reference.
    """

    profile: ReferenceProfile
    later: Seen
    home: Seen
    champion: Champion

    def batch(self, seen: Seen) -> Batch:
        """The images as the champion answers them."""
        return _batch(self.champion, seen)


def world(data: Path, work: Path) -> World:
    """Everything, computed once and kept under `work`."""
    torch.set_num_threads(1)
    folder = unpacked(data, "meter_digits", work)
    everything = _seen(folder)
    role = {str(image.path): _role(image.look) for image in meter_digits(folder) if not image.new}
    places: dict[str, list[int]] = {"train": [], "reference": [], "home": []}
    for place, path in enumerate(everything.paths):
        if path in role:
            places[role[path]].append(place)
    champion = _champion(everything.rows(places["train"]), work / "meters-champion.pt")
    profile = _profile(champion, everything.rows(places["reference"]))
    return World(profile, everything.rows(_later(everything)), everything.rows(places["home"]), champion)


def pictures(encoded_images: Sequence[bytes]) -> tuple[Floats, Bytes]:
    """Statistics of encoded images, and what the network is given of them."""
    decoded = [decode(one).pixels for one in encoded_images]
    samples = [sample_of(one, encoded=len(data)) for one, data in zip(decoded, encoded_images, strict=True)]
    return statistics_of_all(samples).astype(np.float64), small(decoded)


def small(decoded: Sequence[NDArray[np.uint8]]) -> Bytes:
    images = [np.asarray(Image.fromarray(one).resize((_SIDE, _SIDE), Image.Resampling.BILINEAR)) for one in decoded]
    return np.stack(images).transpose(0, 3, 1, 2)


def predictions(batch: Batch, seen: Seen, begin: datetime) -> list[Prediction]:
    """As the log would have them, a minute apart."""
    return [
        Prediction(
            id=f"{begin:%Y%m%d}-{place}-{seen.paths[place]}",
            at=begin + timedelta(minutes=place),
            model_version=1,
            label=batch.labels[place],
            confidence=float(batch.confidence[place]),
            probabilities=tuple(batch.probabilities[place].tolist()),
            embedding=batch.embedding[place].astype(np.float32),
            statistics=tuple(batch.statistics[place].tolist()),
            image_sha256=hashlib.sha256(seen.paths[place].encode()).hexdigest(),
            image_width=1,
            image_height=1,
            image_format="jpeg",
            image_bytes=1,
            image_kept=True,
            metadata=dict(batch.metadata[place]),
        )
        for place in range(len(seen.paths))
    ]


def profile_of(batch: Batch, truth: Sequence[str], judged: tuple[int, int], rounds: int = 1) -> ReferenceProfile:
    return fit(batch, truth, version=1, classes=CLASSES, rounds=rounds, judged_errors={"overall": judged})


def day(text: str) -> datetime:
    return datetime.fromisoformat(text or "2025-12-01").replace(tzinfo=UTC)


def encoded(pixels: NDArray[np.uint8], quality: int = 90) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def _champion(train: Seen, kept: Path) -> Champion:
    """Trained with crops moved by two pixels and other light, from a fixed seed."""
    torch.manual_seed(0)
    model = Champion()
    if kept.is_file():
        model.load_state_dict(torch.load(kept, weights_only=True))
        return model.eval()
    labels = torch.tensor([CLASSES.index(truth) for truth in train.truth])
    images, chance = torch.from_numpy(train.small).float() / 255 - 0.5, np.random.default_rng(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, weight_decay=1e-2)
    steps = _EPOCHS * -(-len(images) // _AT_ONCE)
    pace = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=3e-3, total_steps=steps)
    for _ in range(_EPOCHS):
        for piece in torch.from_numpy(chance.permutation(len(images))).split(_AT_ONCE):
            down, right = chance.integers(-2, 3, 2).tolist()
            seen = torch.roll(images[piece], (down, right), (2, 3)) * float(chance.uniform(0.8, 1.2))
            loss = nn.functional.cross_entropy(model(seen)[0], labels[piece], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            pace.step()
    torch.save(model.state_dict(), kept)
    return model.eval()


def _batch(champion: Champion, seen: Seen) -> Batch:
    with torch.inference_mode():
        parts = [champion(piece.float() / 255 - 0.5) for piece in torch.from_numpy(seen.small).split(_AT_ONCE)]
    logits, features = (torch.cat([part[which] for part in parts]).double() for which in (0, 1))
    probabilities = logits.softmax(dim=1).numpy()
    return Batch(
        statistics=seen.statistics,
        probabilities=probabilities,
        embedding=features.numpy(),
        labels=tuple(CLASSES[place] for place in probabilities.argmax(axis=1)),
        metadata=tuple({"device": device} for device in seen.devices),
    )


def _profile(champion: Champion, held_out: Seen) -> ReferenceProfile:
    """As the product builds one: distorted copies until there are 500 rows."""
    rounds = max(1, -(-_LEAST_ROWS // len(held_out.paths)))
    batches, chance = [_batch(champion, held_out)], np.random.default_rng(0)
    for _ in range(1, rounds):
        copies = [distorted(decode(Path(path).read_bytes()).pixels, chance) for path in held_out.paths]
        statistics = statistics_of_all([sample_of(copy) for copy in copies]).astype(np.float64)
        batches.append(_batch(champion, replace(held_out, statistics=statistics, small=small(copies))))
    whole = Batch(
        np.concatenate([one.statistics for one in batches]),
        np.concatenate([one.probabilities for one in batches]),
        np.concatenate([one.embedding for one in batches]),
        tuple(label for one in batches for label in one.labels),
        tuple(row for one in batches for row in one.metadata),
    )
    errors = sum(a != b for a, b in zip(batches[0].labels, held_out.truth, strict=True))
    return profile_of(whole, held_out.truth * rounds, (errors, len(held_out.truth)), rounds)


def _seen(folder: Path) -> Seen:
    with (folder / "manifest.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["tenth"] in _WHOLE_DIGITS]
    paths = tuple(str(folder / row["image"]) for row in rows)
    statistics, shrunk = pictures([Path(path).read_bytes() for path in paths])
    truth, devices, days = (tuple(row[name] for row in rows) for name in ("label", "device", "captured_on"))
    return Seen(paths, truth, devices, days, statistics, shrunk)


def _later(seen: Seen) -> list[int]:
    first: dict[str, str] = {}
    for device, when in zip(seen.devices, seen.days, strict=True):
        first[device] = min(first.get(device, "9"), when or "9")
    places = [place for place, device in enumerate(seen.devices) if device not in FIRST]
    return sorted(
        places, key=lambda place: (first[seen.devices[place]], seen.devices[place], seen.days[place], seen.paths[place])
    )


def _role(look: str) -> str:
    """Six in ten looks train, a quarter are the reference, the rest stay for the quiet part of the stream."""
    place = int.from_bytes(hashlib.sha256(look.encode()).digest()[:4]) / 2**32
    if place < 0.6:
        return "train"
    return "reference" if place < 0.85 else "home"
