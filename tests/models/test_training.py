"""The training job as its users meet it: a process, a run directory, a candidate."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from infra.errors import UserError
from models.training.loop import train
from models.training.plan import TrainingPlan, write_plan
from models.training.report import read_report
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


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def champion(tmp_path_factory):
    """A finished run, to start from; not to be written to."""
    folder = run_folder(tmp_path_factory.mktemp("champion") / "run")
    train(folder)
    return folder


def successor(folder: Path, champion: Path, plan: TrainingPlan, images: int = 20) -> Path:
    run_folder(folder, replace(plan, start="champion"), images)
    shutil.copyfile(champion / "candidate" / "model.safetensors", folder / "start.safetensors")
    return folder


def finished(champion: Path, folder: Path) -> Path:
    return Path(shutil.copytree(champion, folder))


def test_a_network_learns_three_colours_from_scratch(tmp_path):
    folder = run_folder(tmp_path / "run", replace(PLAN, most_epochs_per_stage=6), images=40)

    report = train(folder)

    assert report.select_macro_recall == 1.0
    assert report.licence == "none"
    assert report.images["role"] == {"select": 30, "train": 90}
    assert read_report(folder / "candidate") == report
    assert [line["epoch"] for line in progress(folder)] == list(range(1, len(progress(folder)) + 1))


def test_a_successor_starts_from_the_champion_in_stages(tmp_path, champion):
    report = train(successor(tmp_path / "run", champion, PLAN))

    assert [stage.name for stage in report.stages] == ["head", "top 4 of 6 groups", "whole network"]
    assert report.select_macro_recall >= read_report(champion / "candidate").select_macro_recall


def test_the_head_strategy_leaves_the_base_as_it_was(tmp_path, champion):
    folder = successor(tmp_path / "run", champion, replace(PLAN, strategy="head", learning_rate=0.05))

    train(folder)

    before, after = weights(champion), weights(folder)
    assert {name for name in before if not torch.equal(before[name], after[name])} <= {"fc.weight", "fc.bias"}


def test_a_finished_job_run_again_gives_the_same_candidate(tmp_path, champion):
    folder = finished(champion, tmp_path / "run")

    train(folder)

    assert all(torch.equal(weights(champion)[name], tensor) for name, tensor in weights(folder).items())
    assert progress(folder) == progress(champion)


def test_another_class_list_does_not_resume(tmp_path, champion):
    folder = finished(champion, tmp_path / "run")
    text = (folder / "examples.csv").read_text()
    (folder / "examples.csv").write_text(text.replace("dark1.png,dark", "dark1.png,white"))
    write_plan(replace(PLAN, classes=(*PLAN.classes, "white")), folder)

    with pytest.raises(UserError) as caught:
        train(folder)

    assert "classes: was ['dark', 'light', 'red'], is ['dark', 'light', 'red', 'white']" in str(caught.value)


def test_a_budget_that_is_too_small_still_gives_a_candidate(tmp_path):
    folder = run_folder(tmp_path / "run", replace(PLAN, most_epochs_per_stage=500, budget_minutes=0.01))

    report = train(folder)

    assert report.stages[0].ended == "budget"
    assert (folder / "candidate" / "model.safetensors").is_file()


def test_a_damaged_checkpoint_is_named(tmp_path):
    folder = run_folder(tmp_path / "run")
    (folder / "checkpoint.pt").write_bytes(b"half a checkp")

    with pytest.raises(UserError, match=r"checkpoint\.pt is damaged"):
        train(folder)


def test_images_that_cannot_be_read_are_named_together(tmp_path):
    folder = run_folder(tmp_path / "run")
    (folder / "images" / "dark0.png").write_bytes(b"nothing")
    (folder / "images" / "red1.png").unlink()

    with pytest.raises(UserError) as caught:
        train(folder)

    assert "2 of 60 images cannot be read" in str(caught.value)
    assert "images/red1.png: No such file or directory" in str(caught.value)
    assert not (folder / "candidate").exists()


def test_training_that_diverges_says_so(tmp_path):
    folder = run_folder(tmp_path / "run", replace(PLAN, learning_rate=1e30))

    with pytest.raises(UserError, match=r"training has diverged; lower train\.learning_rate"):
        train(folder)


def test_an_unknown_strategy_brings_a_suggestion(tmp_path):
    with pytest.raises(UserError, match=r"strategy 'stage' is not known; .* did you mean 'staged'"):
        write_plan(replace(PLAN, strategy="stage"), tmp_path)

    assert not (tmp_path / "plan.json").exists()


def test_a_class_without_training_images_is_named(tmp_path):
    folder = run_folder(tmp_path / "run", replace(PLAN, classes=("dark", "light", "red", "white")))

    with pytest.raises(UserError, match="classes without an image to train on: white"):
        train(folder)


@pytest.mark.slow
def test_a_user_mistake_ends_the_process_with_one_message(tmp_path):
    process = start(tmp_path, said=subprocess.PIPE)
    _, errors = process.communicate(timeout=120)

    assert process.returncode == 1
    assert errors.strip() == f"{tmp_path} is no run directory: it has no plan.json"


@pytest.mark.slow
@pytest.mark.parametrize("strategy", ["scratch", "champion"])
def test_a_killed_job_ends_with_the_weights_of_an_undisturbed_one(tmp_path, champion, strategy):
    plan = replace(PLAN, most_epochs_per_stage=5, patience_epochs=5)
    names = ("undisturbed", "killed")
    if strategy == "champion":
        folders = [successor(tmp_path / name, champion, plan, images=100) for name in names]
    else:
        folders = [run_folder(tmp_path / name, plan, images=100) for name in names]
    assert start(folders[0]).wait(timeout=300) == 0

    kills = 0
    while (process := start(folders[1])).poll() is None:
        seen = len(progress(folders[1]))
        while process.poll() is None and len(progress(folders[1])) < seen + 3:
            time.sleep(0.01)
        if process.poll() is None and kills < 2:
            process.send_signal(signal.SIGKILL)
            kills += 1
            process.wait()
            continue
        process.wait(timeout=300)
        break

    assert kills > 0
    expected, found = weights(folders[0]), weights(folders[1])
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
