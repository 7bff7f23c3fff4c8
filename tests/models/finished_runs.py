"""Runs as training leaves them behind, with answers made up by a seed: material for plots and pages."""

import io
import json
from pathlib import Path

import numpy as np
from PIL import Image

from models.artifact import Artifact, Lineage, Parity
from models.evaluation import Judged
from models.gate_records import PROMOTE, GateDecision
from models.mistakes import worst_mistakes
from models.preprocessing import Preprocessing
from models.runtime import softmax
from models.scorecard import score
from models.training.plan import TrainingPlan
from models.training.run_folder import RunExample, write_examples
from models.training_page import FinishedRun, read_training

STAGES = (("head", 2), ("top 2 of 5 groups", 3), ("whole network", 1))


def png(grey: int = 90, size: tuple[int, int] = (40, 20)) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", size, (grey, grey, grey)).save(out, "PNG")
    return out.getvalue()


def judged(classes: tuple[str, ...], images: int = 200, share_right: float = 0.85, seed: int = 0) -> Judged:
    chance = np.random.default_rng(seed)
    labels = np.arange(images) % len(classes)
    logits = chance.normal(0, 1, (images, len(classes))).astype(np.float32)
    logits[np.arange(images), np.where(chance.random(images) < share_right, labels, 0)] += 6
    probabilities = softmax(logits)
    names = tuple(f"{place}.png" for place in range(images))
    return Judged(
        fingerprint="made up", classes=classes, images=names, labels=labels,
        predictions=probabilities.argmax(axis=1), probabilities=probabilities,
        embeddings=np.zeros((images, 2), dtype=np.float32), groups=names, sources=("manifest",) * images,
        metadata=tuple({"camera": ("A", "B", "")[place % 3]} for place in range(images)),
    )  # fmt: skip


def artifact(classes: tuple[str, ...], licence: str = "apache-2.0") -> Artifact:
    return Artifact(
        name="cards", classes=classes, preprocessing=Preprocessing(16, (0.5,) * 3, (0.5,) * 3), temperature=1.3,
        embedding_size=2, backbone="test_resnet", options={}, onnx_sha256="0" * 64, onnx_bytes=1_600_000,
        weights_sha256="0" * 64, licence=licence,
        lineage=Lineage(None, "first", "f" * 64, "2026-03-01T10:00:00+00:00", 0, "staged"),
        parity=Parity(1e-6, 1e-6, True, (1, 7)),
    )  # fmt: skip


def finished_run(folder: Path, classes: tuple[str, ...], *, start: str = "timm", licence: str = "apache-2.0"):
    """A run of three stages whose first epoch was told twice, as after a resumption."""
    plan = TrainingPlan(backbone="test_resnet", classes=classes, start=start, name="cards")
    (folder / "candidate").mkdir(parents=True)
    write_examples(
        folder, [RunExample(f"images/{label}", label, role) for label in classes for role in ("train", "select")]
    )
    training = {
        "plan": plan.to_json(), "licence": licence, "parameters": 1_234_567, "seconds": 75.0,
        "select_macro_recall": 0.91, "select_accuracy": 0.9, "libraries": {"torch": "2"},
        "stages": [
            {"name": name, "epochs": epochs, "macro_recall": 0.9, "accuracy": 0.9, "seconds": 25.0, "ended": "early"}
            for name, epochs in STAGES
        ],
    }  # fmt: skip
    (folder / "candidate" / "training.json").write_text(json.dumps(training))
    lines = [
        {"stage": stage, "stage_name": name, "epoch": epoch, "loss": 1 / (stage + epoch), "select_loss": 0.5,
         "select_macro_recall": 0.9, "select_accuracy": 0.9, "learning_rate": 1e-3}
        for stage, (name, epochs) in enumerate(STAGES) for epoch in range(1, epochs + 1)
    ]  # fmt: skip
    told = [{**lines[0], "loss": 9.0}, *lines, {"kind": "remark", "words": "The rate was lowered once."}]
    (folder / "progress.jsonl").write_text("".join(json.dumps(line) + "\n" for line in told) + '{"stage": 2, "epo')
    answers = judged(classes)
    mistakes = worst_mistakes(
        answers.probabilities, answers.labels, classes, answers.images, lambda place: png(place % 256)
    )
    card = score(answers, ["camera"], temperature=1.3, latency_ms=4.5, size_mb=1.6)
    decision = GateDecision(PROMOTE, False, (), (), (), ("There is no champion to compare with.",))
    return FinishedRun(
        folder, plan, artifact(classes, licence), read_training(folder), card, decision, mistakes, mistakes[:2]
    )
