"""Run directories of noisy cards in three colours, small enough to train in a second."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from PIL import Image

from models.training.plan import TrainingPlan, write_plan
from models.training.run_folder import RunExample, write_examples

PLAN = TrainingPlan(
    backbone="test_resnet", classes=("dark", "light", "red"), image_size=16, mean=(0.5,) * 3, std=(0.5,) * 3,
    batch_images=16, most_epochs_per_stage=2, patience_epochs=2, device="cpu", threads=1,
)  # fmt: skip
COLOURS = {"dark": (20, 20, 20), "light": (230, 230, 230), "red": (200, 30, 30)}


def run_folder(folder: Path, plan: TrainingPlan = PLAN, images: int = 20) -> Path:
    """Noisy cards of three colours; a quarter of each selects."""
    chance = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    rows = []
    for label, colour in COLOURS.items():
        for number in range(images):
            pixels = np.clip(np.array(colour) + chance.normal(0, 20, (16, 16, 3)), 0, 255).astype(np.uint8)
            name = f"images/{label}{number}.png"
            Image.fromarray(pixels).save(folder / name)
            rows.append(RunExample(name, label, "select" if number % 4 == 0 else "train"))
    write_examples(folder, rows)
    write_plan(plan, folder)
    return folder


def start(folder: Path, said: int = subprocess.DEVNULL) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-m", "models.training", "--run-dir", str(folder)],
        cwd=Path(__file__).parents[2], env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL, stderr=said, text=True,
    )  # fmt: skip


def progress(folder: Path) -> list[dict]:
    path = folder / "progress.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.is_file() else []


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return safetensors.torch.load_file(folder / "candidate" / "model.safetensors")


def epochs_told(folder: Path) -> list[dict]:
    return [line for line in progress(folder) if line["kind"] == "epoch"]


def successor(folder: Path, champion: Path, plan: TrainingPlan, images: int = 20) -> Path:
    """A run that starts from another one's candidate."""
    run_folder(folder, replace(plan, start="champion"), images)
    shutil.copyfile(champion / "candidate" / "model.safetensors", folder / "start.safetensors")
    return folder
