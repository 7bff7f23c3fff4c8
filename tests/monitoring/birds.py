"""A small world: a classifier of birds, its reference, its traffic, and the places where the watcher works."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np

from infra.clock import new_id, now
from models.prediction import Label, Prediction
from monitoring.reference.fit import fit
from monitoring.reference.profile import ReferenceProfile, save_profile
from monitoring.watch import WatchPlace
from monitoring.watching.batch import batch_of

BIRDS = ("crow", "duck", "owl")
EMBEDDING = 16


@dataclass
class Birds:
    """Traffic of a classifier of birds; `right` is its accuracy, `strange` whether the pictures look like no other."""

    seed: int = 0
    version: int = 1
    clock: datetime = field(default_factory=lambda: datetime(2026, 11, 1, 12, tzinfo=UTC))

    def __post_init__(self) -> None:
        self.chance = np.random.default_rng(self.seed)
        self.centres = np.random.default_rng(99).normal(0, 3, (len(BIRDS), EMBEDDING))

    def traffic(
        self, count: int, *, camera: str = "A", strange: bool = False, right: float = 0.95
    ) -> tuple[list[Prediction], list[str]]:
        """Predictions, and what the pictures truly show."""
        made = [self._prediction(camera, strange=strange, right=right) for _ in range(count)]
        return [prediction for prediction, _ in made], [truth for _, truth in made]

    def _prediction(self, camera: str, *, strange: bool, right: float) -> tuple[Prediction, str]:
        chance = self.chance
        truth = int(chance.integers(len(BIRDS)))
        answer = truth if chance.random() < right else int((truth + 1) % len(BIRDS))
        confidence = float(np.clip(chance.normal(0.9, 0.04) - 0.35 * strange, 0.4, 0.99))
        probabilities = np.full(len(BIRDS), (1 - confidence) / (len(BIRDS) - 1))
        probabilities[answer] = confidence
        embedding = self.centres[answer] + chance.normal(0, 1, EMBEDDING) + 8 * strange
        usual = np.array([0.5, 0.2, 0.05, 0.3, 0.02, 0.0, 0.05])
        spread = np.array([0.05, 0.03, 0.01, 0.05, 0.005, 0.0, 0.0])
        statistics = usual + spread * chance.normal(0, 1, 7) + strange * np.array([0.4, 0, 0, 0, 0.1, 0, 0])
        self.clock += timedelta(seconds=5)
        prediction = Prediction(
            id=new_id(self.clock),
            at=self.clock,
            model_version=self.version,
            label=BIRDS[answer],
            confidence=confidence,
            probabilities=tuple(float(value) for value in probabilities),
            embedding=embedding.astype(np.float32),
            statistics=tuple(float(value) for value in statistics),
            image_sha256=chance.bytes(32).hex(),
            image_width=224,
            image_height=224,
            image_format="png",
            image_bytes=5_000,
            image_kept=True,
            metadata={"camera": camera},
        )
        return prediction, BIRDS[truth]


def bird_profile(version: int = 1, errors: tuple[int, int] = (15, 300), cameras: str = "AB") -> ReferenceProfile:
    """A reference of 600 rows: 150 pictures, each seen four times, from two cameras."""
    world = Birds(seed=1_000 + version, version=version)
    pictures, truths = [], []
    for camera in cameras:
        some, names = world.traffic(150 // len(cameras), camera=camera)
        pictures += some
        truths += names
    rows, rounds = [*pictures], 4
    for _ in range(rounds - 1):
        again, _ = world.traffic(len(pictures))
        rows += [replace(new, metadata=old.metadata) for new, old in zip(again, pictures, strict=True)]
    batch = batch_of(rows, len(BIRDS), EMBEDDING)
    return fit(
        batch,
        truths * rounds,
        version=version,
        classes=BIRDS,
        rounds=rounds,
        judged_errors={"overall": errors},
    )


@dataclass
class Station:
    """A place to watch, with a champion; traffic and labels arrive through it as the shipper would bring them."""

    place: WatchPlace
    segment: int = 0

    def arrive(self, predictions: Sequence[Prediction], spool: str = "worker-0") -> None:
        self.segment += 1
        self.place.log.append_predictions(spool, self.segment, list(enumerate(predictions)))

    def label(self, predictions: Sequence[Prediction], truths: Sequence[str]) -> None:
        self.segment += 1
        at = now()
        rows = [
            Label(prediction.id, truth, at, "ann", sequence=self.segment * 10_000 + place)
            for place, (prediction, truth) in enumerate(zip(predictions, truths, strict=True))
        ]
        self.place.log.append_labels("labels-0", self.segment, list(enumerate(rows)))

    def promote(self, version: int, tmp: Path, profile: ReferenceProfile | None) -> None:
        candidate = tmp / f"candidate-{version}"
        candidate.mkdir()
        for file in ("model.onnx", "model.safetensors", "artifact.json"):
            (candidate / file).write_bytes(f"{file} {version}".encode())
        registry = self.place.registry
        registry.register(candidate, reason="first", parent_version=None)
        registry.champions.promote(version, actor="test", reason="test")
        if profile is not None:
            save_profile(self.place.engine, self.place.objects, self.place.name, profile)
