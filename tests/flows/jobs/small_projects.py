"""A small real project whose gate lets everything through, and processes that work on its jobs and die where told."""

import contextlib
import csv
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from flows.workplace import open_workplace
from tests.flows.tiny_network import TINY_NETWORK

ROOT = Path(__file__).parents[3]
TOML = (
    """
[data]
manifest = "manifest.csv"
subgroups = ["camera"]
"""
    + TINY_NETWORK
    + """[train]
threads = 1
most_epochs_per_stage = {epochs}
patience_epochs = {epochs}
augmentation = "none"
[gate]
min_precision = 0.0
min_recall = 0.0
overall_margin = 1.0
class_margin = 1.0
[trigger]
forecast = false
regimes = false
[rollout]
shadow_predictions = 0
canary_predictions = 0
"""
)
_ROLES = ("train", "train", "train", "select", "judge")

# A script that begins so is killed by its own hand right after the deed that its last argument names, if it names one:
# `module:function` or `module:Class.method`.
DYING = """
import importlib, os, sys
from pathlib import Path
if sys.argv[-1]:
    module, _, path = sys.argv[-1].partition(":")
    *owners, name = path.split(".")
    owner = importlib.import_module(module)
    for each in owners:
        owner = getattr(owner, each)
    real = getattr(owner, name)
    def die_after(*args, **kwargs):
        real(*args, **kwargs)
        os.kill(os.getpid(), 9)
    setattr(owner, name, die_after)
"""
WORK = (
    DYING
    + """
from infra.settings import load
from flows.retraining import run_job
print(run_job(load(Path.cwd()), sys.argv[1], "manual"), flush=True)
"""
)


# A checkpoint follows every epoch, but at most one a second: of a network this small several epochs fit in between.
MOST_EPOCHS_AGAIN, MOST_SECONDS_AGAIN = 1, 2.0


def make_project(folder: Path, *, images: int = 25, epochs: int = 2, more: str = "") -> Path:
    """Red and blue images of two cameras with their roles, and settings for a tiny network."""
    random = np.random.default_rng(0)
    (folder / "images").mkdir(parents=True)
    rows = [("image", "label", "camera", "split")]
    for number in range(images):
        for label, channel in (("red", 0), ("blue", 2)):
            pixels = random.integers(0, 80, (32, 32, 3), dtype=np.uint8)
            pixels[..., channel] += 150
            name = f"images/{label}{number}.png"
            Image.fromarray(pixels).save(folder / name)
            rows.append((name, label, "AB"[number % 2], _ROLES[number % len(_ROLES)]))
    with (folder / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)
    (folder / "kedge.toml").write_text(TOML.format(epochs=epochs) + more)
    return folder


def kedge(folder: Path, *arguments: str) -> str:
    """The command, to its end; what it said."""
    done = subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments], cwd=folder, env=environment(), text=True, check=False,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def worker(folder: Path, job: str, dies_after: str = "") -> "subprocess.Popen[str]":
    """A process that does the job."""
    command = [sys.executable, "-c", WORK, job, dies_after]
    return subprocess.Popen(
        command, cwd=folder, env=environment(), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def environment() -> dict[str, str]:
    return {**os.environ, "PYTHONSAFEPATH": "1", "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def place_of(folder: Path):
    return open_workplace(folder)


def epochs_told(folder: Path, job_id: str) -> list[tuple[int, int, float]]:
    """Every epoch a job's training told of, as often as it was trained: stage, epoch, seconds of training so far."""
    path = folder / ".kedge" / "runs" / job_id / "progress.jsonl"
    lines = []
    for line in path.read_text().splitlines() if path.exists() else ():
        with contextlib.suppress(ValueError):  # half a line of a trainer that was killed
            lines.append(json.loads(line))
    return [(line["stage"], line["epoch"], line["seconds"]) for line in lines if line.get("kind") == "epoch"]


def trained_again(told: list[tuple[int, int, float]]) -> tuple[int, float]:
    """Epochs that were trained more than once, and the seconds that they had taken at first."""
    took: dict[tuple[int, int], float] = {}
    again, again_s, before = 0, 0.0, 0.0
    for stage, epoch, seconds in told:
        if (stage, epoch) in took:
            again, again_s = again + 1, again_s + took[stage, epoch]
        took.setdefault((stage, epoch), max(0.0, seconds - before))
        before = seconds
    return again, again_s


def little(again: int, again_s: float, deaths: int = 1) -> bool:
    """Whether no more was trained again than lies between two checkpoints, for each death."""
    return again <= deaths * MOST_EPOCHS_AGAIN or again_s <= deaths * MOST_SECONDS_AGAIN
