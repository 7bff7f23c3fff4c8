"""Killed at any moment, a job goes on, and ends with the very weights of an undisturbed one."""

import json
import shutil
import signal
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from models.training.plan import TrainingPlan
from tests.models.coloured_cards import PLAN, run_folder, start, successor, weights

LONG = replace(PLAN, most_epochs_per_stage=4, patience_epochs=4)
# A plan, and after how many different epochs it is killed: within a stage, and right at the ends of stages.
STORIES = {
    "scratch": (LONG, (1, 3)),
    "staged": (replace(LONG, start="champion"), (1, 3, 5)),
    "surgical, running mean": (replace(LONG, start="champion", strategy="surgical", ema_decay=0.9), (1, 2, 5)),
    # With a wrong label no network reaches the floor, so that `auto` climbs to its last rung.
    "auto, from scratch at last": (replace(LONG, start="champion", strategy="auto", min_recall=0.999), (2, 6, 11)),
}


@pytest.mark.slow
@pytest.mark.parametrize("story", STORIES)
def test_a_killed_job_ends_with_the_weights_of_an_undisturbed_one(tmp_path, champion, story):
    plan, kill_points = STORIES[story]
    undisturbed, killed = (a_run(tmp_path / name, champion, plan) for name in ("undisturbed", "killed"))
    assert start(undisturbed).wait(timeout=300) == 0
    # Whether a cache pays is measured, and two measurements may differ: both go the way that the first one took.
    if (undisturbed / "sources.json").exists():
        shutil.copyfile(undisturbed / "sources.json", killed / "sources.json")

    kills = run_with_kills(killed, kill_points)

    assert kills == len(kill_points)
    expected, found = weights(undisturbed), weights(killed)
    assert [name for name in expected if not torch.equal(expected[name], found[name])] == []


@pytest.mark.slow
def test_a_polite_stop_keeps_the_checkpoint(tmp_path):
    folder = run_folder(tmp_path / "run", replace(PLAN, most_epochs_per_stage=200, patience_epochs=200))
    process = start(folder, said=subprocess.PIPE)
    while process.poll() is None and not (folder / "checkpoint.pt").is_file():
        time.sleep(0.02)

    process.send_signal(signal.SIGTERM)
    _, errors = process.communicate(timeout=60)

    assert process.returncode == 143
    assert errors.strip() == "training stopped by SIGTERM; the same command goes on from the last checkpoint"
    assert torch.load(folder / "checkpoint.pt", weights_only=True)["standing"]["epoch"] >= 1


def a_run(folder: Path, champion: Path, plan: TrainingPlan) -> Path:
    if plan.start == "champion":
        successor(folder, champion, plan, images=100)
        if plan.strategy == "auto":
            table = folder / "examples.csv"
            table.write_text(table.read_text().replace("light0.png,light,select", "light0.png,dark,select"))
        return folder
    return run_folder(folder, plan, images=100)


def run_with_kills(folder: Path, kill_points: tuple[int, ...]) -> int:
    """Run to the end, killed outright as soon as so many different epochs were told; gives the number of kills."""
    for kills, point in enumerate(kill_points):
        process = start(folder)
        while process.poll() is None and different_epochs(folder) < point:
            time.sleep(0.002)
        if process.poll() is not None:
            return kills
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert start(folder).wait(timeout=300) == 0
    return len(kill_points)


def different_epochs(folder: Path) -> int:
    # A killed writer leaves half a line.
    path = folder / "progress.jsonl"
    whole = path.read_text().rpartition("\n")[0].splitlines() if path.is_file() else []
    lines = [json.loads(line) for line in whole]
    return len({(line["stage"], line["epoch"]) for line in lines if line["kind"] == "epoch"})
