"""`kedge train FOLDER` where nothing was set up: a model, its curves, a report; and what is said of a bad folder."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from flows.collecting.from_manifest import manifest_examples
from flows.overrides import Overrides
from flows.workplace import open_workplace
from models.examples import every_role_filled


def make_photos(folder, each=24, classes=("blue", "red"), side=40):
    """A folder per class, with noisy squares of its colour."""
    random = np.random.default_rng(0)
    for channel, name in zip((2, 0, 1), classes, strict=False):
        (folder / name).mkdir(parents=True)
        for number in range(each):
            pixels = random.integers(0, 80, (side, side, 3), dtype=np.uint8)
            pixels[..., channel] += 150
            Image.fromarray(pixels).save(folder / name / f"{number}.png")


def kedge(folder, *arguments):
    # The only thing that is not as a stranger has it: a network that trains in seconds, and no look at the hub.
    small = {"KEDGE_MODEL__BACKBONE": "test_resnet", "KEDGE_TRAIN__MOST_EPOCHS_PER_STAGE": "3",
             "HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1", "PYTHONSAFEPATH": "1"}  # fmt: skip
    return subprocess.run(
        [sys.executable, "-m", "flows.cli", *arguments],
        cwd=folder,
        env={**os.environ, **small},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


@pytest.fixture
def here(tmp_path, kedge, monkeypatch):
    """The command in this process, for what ends before anything is trained: exit code, output, errors."""
    monkeypatch.chdir(tmp_path)
    kedge.folder = tmp_path
    return kedge


@pytest.mark.slow
def test_a_folder_of_images_and_no_configuration_give_a_model_with_curves_and_a_report(tmp_path):
    make_photos(tmp_path / "photos")

    done = kedge(tmp_path, "train", "photos")

    assert done.returncode == 0, done.stderr
    assert "Images are trained at 64 × 64 pixels: their longer side has 40" in done.stderr
    assert "from scratch" in done.stderr  # nothing can be fetched here, and that is said aloud
    assert "stage 1 of 1" in done.stderr
    for words in ("classifier:1: ", "accuracy ", "Version 1 is champion. `kedge up` serves it.", "run `kedge init`"):
        assert words in done.stdout
    report = Path(next(line for line in done.stdout.splitlines() if line.startswith("Report: "))[len("Report: ") :])
    assert report.read_text().lower().startswith("<!doctype html")
    run_dir = report.parent.parent
    told = [json.loads(line) for line in (run_dir / "progress.jsonl").read_text().splitlines()]
    assert max(line["epoch"] for line in told if line["kind"] == "epoch") == 3
    assert (run_dir / "candidate" / "model.onnx").is_file()
    assert not (tmp_path / "kedge.toml").exists()


@pytest.mark.slow
def test_augmentations_are_drawn_and_nothing_is_trained(tmp_path):
    make_photos(tmp_path / "photos")

    done = kedge(tmp_path, "train", "photos", "--augmentation", "strong", "--show-augmentations", "seen.png")

    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "seen.png shows 6 images of 2 classes under augmentation 'strong'; nothing was trained.\n"
    with Image.open(tmp_path / "seen.png") as drawn:
        assert drawn.width > 400
    assert not (tmp_path / ".kedge" / "runs").exists()


def empty(folder):
    folder.mkdir()


def loose(folder):
    make_photos(folder)
    for file in [*(folder / "red").iterdir()]:
        file.rename(folder / file.name)
    shutil.rmtree(folder / "red")
    shutil.rmtree(folder / "blue")


def unreadable(folder):
    make_photos(folder)
    (folder / "red" / "3.png").write_text("hello")


UNUSABLE = "{}/photos cannot be used:\n  "
UNREADABLE = """1 of 48 images cannot be read; mend them or take them out:
  {}/photos/red/3.png: the 5 bytes are no image; send JPEG, PNG, WebP, GIF, BMP or TIFF"""
EXPECTED = "; expected one folder per class, named as the class, with its images in it"


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (empty, UNUSABLE + "it holds nothing" + EXPECTED),
        (loose, UNUSABLE + "it holds 24 images and no folder" + EXPECTED),
        (
            lambda folder: make_photos(folder, classes=("blue",)),
            UNUSABLE + "all 24 images are of one class, 'blue'; a classifier needs at least two",
        ),
        (
            lambda folder: make_photos(folder, each=1),
            UNUSABLE + "too few images of 2 classes; each needs at least 10: 'blue' has 1, 'red' has 1",
        ),
        (
            unreadable,
            UNREADABLE,
        ),
    ],
)
def test_a_folder_that_cannot_be_trained_on_is_told_in_one_message(here, make, message):
    make(here.folder / "photos")

    assert here("train", "photos") == (1, "", f"kedge: {message.format(here.folder)}\n")


def test_a_strategy_that_does_not_exist_is_wrong_usage(here):
    code, _, err = here("train", "--strategy", "stagd")

    assert code == 2
    assert "'stagd' is not one of" in err


def test_few_images_of_many_classes_are_divided_so_that_none_is_left_without_a_role(tmp_path):
    # Of 12 images each by chance alone, all of 8 classes would have every role one time in thirty.
    make_photos(tmp_path / "photos", each=12, classes=("a", "b", "c"))
    for number in range(5):
        make_photos(tmp_path / "more", each=12, classes=("a",), side=8)
        (tmp_path / "more" / "a").rename(tmp_path / "photos" / f"d{number}")

    place = open_workplace(tmp_path, Overrides(data=tmp_path / "photos"))

    assert every_role_filled(manifest_examples(place))
    assert manifest_examples(place) == manifest_examples(place)
