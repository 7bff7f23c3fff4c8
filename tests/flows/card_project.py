"""A project of noisy cards with labelled traffic, and versions that know them or do not: real graphs, real tables."""

import hashlib
import io
from datetime import timedelta
from pathlib import Path

import numpy as np
from PIL import Image

from flows.workplace import Workplace, open_workplace
from infra.clock import new_id, now
from models.prediction import Label, Prediction
from monitoring.prediction_log import image_key
from tests.flows.fixed_roles import fix_roles
from tests.service.cards import CLASSES, write_candidate

COLOURS = {"dark": (30, 30, 30), "light": (220, 220, 220), "red": (200, 40, 40)}
KNOWS, KNOWS_NOTHING = 8.0, -8.0
SETTINGS = """\
[project]
name = "cards"
[data]
manifest = "manifest.csv"
[train]
replay_images = 30
threads = 1
[monitor]
feedback_is_random = true
"""


def card(label: str, seed: int) -> bytes:
    """A card of its class's colour with noise of its own, as PNG."""
    chance = np.random.default_rng([seed, CLASSES.index(label)])
    pixels = np.clip(np.array(COLOURS[label]) + chance.normal(0, 25, (16, 16, 3)), 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def project(folder: Path, each: int = 40, settings: str = "", data: str = "") -> Workplace:
    """A manifest of cards, and nothing else yet; `data` are further lines of that section."""
    (folder / "images").mkdir(parents=True)
    rows = ["image,label"]
    for number in range(each):
        for label in CLASSES:
            name = f"images/{label}{number}.png"
            (folder / name).write_bytes(card(label, number))
            rows.append(f"{name},{label}")
    (folder / "manifest.csv").write_text("\n".join(rows))
    (folder / "kedge.toml").write_text(SETTINGS.replace("[data]\n", f"[data]\n{data}") + settings)
    return fix_roles(open_workplace(folder))


def version(place: Workplace, sharpness: float, *, state: str = "registered", accuracy: float = 1.0) -> int:
    """Register a version that knows cards (`KNOWS`) or gets every one of them wrong (`KNOWS_NOTHING`)."""
    folder = write_candidate(place.settings.root / f"made-{new_id()}", sharpness=sharpness)
    scorecard = {"accuracy": accuracy}
    made = place.registry.register(folder, reason="test", parent_version=None, scorecard=scorecard, state=state)
    return made.version


def promoted(place: Workplace, sharpness: float) -> int:
    number = version(place, sharpness)
    place.registry.champions.promote(number, actor="test", reason="test")
    return number


def labelled_traffic(place: Workplace, cards: int, segment: int = 1) -> None:
    """Fresh cards of every class, with their labels, newer than any champion so far."""
    predictions, labels = [], []
    at = now() + timedelta(seconds=1)
    for number in range(cards):
        label = CLASSES[number % len(CLASSES)]
        data = card(label, 100_000 * segment + number)
        sha = hashlib.sha256(data).hexdigest()
        place.objects.put(image_key(sha), data)
        prediction = Prediction(
            new_id(), at, 1, label, 0.9, (0.1, 0.9, 0.0), np.zeros(3, np.float32), (0.5,) * 9, sha, 16, 16, "png",
            len(data), True, {},
        )  # fmt: skip
        predictions.append(prediction)
        labels.append(Label(prediction.id, label, at, sequence=segment * 100_000 + number))
    place.log.append_predictions("spool", segment, list(enumerate(predictions)))
    place.log.append_labels("spool", segment, list(enumerate(labels)))


class Heard:
    """A teller that remembers what it was told."""

    def __init__(self) -> None:
        self.words: list[str] = []

    def say(self, words: str) -> None:
        self.words.append(words)

    def warn(self, words: str) -> None:
        self.words.append(words)

    def progress(self, what: str, done: int, total: int, words: str = "") -> None:
        pass

    def training(self, line: object) -> None:
        pass

    def trained(self) -> None:
        pass
