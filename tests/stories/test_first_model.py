"""A newcomer's first hour: init, describe the data, train, serve, predict, look."""

import csv
import io
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import httpx
import numpy as np
import pytest
from PIL import Image

CHANGES = {
    'manifest = "data/manifest.csv"': 'manifest = "manifest.csv"',
    "subgroups = []": 'subgroups = ["camera"]',
    'source = ""': 'source = "camera"',
    'backbone = "mobilenetv3_small_100"': 'backbone = "test_resnet"',
    'weights = "auto"': 'weights = "none"',
    "image_size = 0": "image_size = 32",
    "mean = []": "mean = [0.5, 0.5, 0.5]",
    "std = []": "std = [0.5, 0.5, 0.5]",
    "threads = 0": "threads = 1",
    "most_epochs_per_stage = 20": "most_epochs_per_stage = 6",
}


def photo(random, colour):
    """A noisy red or blue square, as PNG."""
    pixels = random.integers(0, 80, (32, 32, 3), dtype=np.uint8)
    pixels[..., {"red": 0, "blue": 2}[colour]] += 150
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


def take_photos(folder, each=30):
    """Images of two colours from two cameras, and the manifest that lists them with their roles."""
    random = np.random.default_rng(0)
    (folder / "images").mkdir()
    rows = [("image", "label", "camera", "split")]
    for number in range(each):
        for colour in ("red", "blue"):
            name = f"images/{colour}{number}.png"
            (folder / name).write_bytes(photo(random, colour))
            rows.append((name, colour, "AB"[number % 2], ("train", "train", "train", "select", "judge")[number % 5]))
    with (folder / "manifest.csv").open("w", newline="") as file:
        csv.writer(file).writerows(rows)


@contextmanager
def serving(project) -> Iterator[Callable[[], int | None]]:
    with (project.folder / "serve.out").open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, "-P", "-m", "flows.cli", "serve", "--runtime", "uvicorn"],
            cwd=project.folder,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**os.environ, "PYTHONSAFEPATH": "1"},
            start_new_session=True,
        )

        def ready():
            assert process.poll() is None, (project.folder / "serve.out").read_text()
            try:
                return httpx.get(f"{project.url}/readyz", timeout=5, trust_env=False).is_success
            except httpx.HTTPError:
                return False

        try:
            project.wait(ready, 90, "kedge serve")
            yield process.poll
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(90)


@pytest.mark.slow
def test_from_an_empty_folder_to_an_answer(make_project):
    # A folder of the user's own that is named as one of ours must not be taken for it.
    project = make_project("")
    ports = (project.folder / "kedge.toml").read_text()
    (project.folder / "kedge.toml").unlink()
    (project.folder / "models").mkdir()
    (project.folder / "models" / "__init__.py").write_text("raise SystemExit('this is not the house')")

    assert project.kedge("init").returncode == 0
    edit(project.folder / "kedge.toml", ports)
    take_photos(project.folder)
    checked = project.kedge_json("data")
    trained = project.kedge_json("train")
    with serving(project) as ended:
        random = np.random.default_rng(1)
        answer = project.predict(photo(random, "red"), camera="A")
        refusals = {name: refusal(project, data) for name, data in broken_images(random).items()}
        after = project.predict(photo(random, "blue"), camera="B")
        status = project.kedge_json("status")
        assert ended() is None

    assert checked["summary"]["classes"] == {"blue": 30, "red": 30}
    assert (trained["promoted"], trained["version"]["version"]) == (True, 1)
    assert (answer["label"], answer["model"]) == ("red", "classifier:1")
    assert refusals == {
        "not an image": (422, "not_an_image"),
        "half a JPEG": (422, "truncated_image"),
        "100 megapixels": (413, "too_many_pixels"),
    }
    assert after["label"] == "blue"
    assert status["champion"]["version"] == 1
    assert [worker["version"] for worker in status["service"]["workers"]] == [1]
    assert project.kedge("promote", "7").returncode == 1


def edit(path, ports):
    """What a newcomer writes into the file that `kedge init` made, and free ports."""
    text = path.read_text()
    for default, wanted in CHANGES.items():
        assert text.count(f"\n{default}") == 1, default
        text = text.replace(f"\n{default}", f"\n{wanted}")
    for section in ports.strip().split("[")[1:]:
        name, *settings = section.strip().splitlines()
        for setting in settings:
            key = setting.partition(" =")[0]
            head, tail = text.split(f"\n[{name}\n", 1)
            old = next(line for line in tail.splitlines() if line.startswith(f"{key} ="))
            text = f"{head}\n[{name}\n{tail.replace(old, setting, 1)}"
    path.write_text(text)


def broken_images(random):
    jpeg, huge = io.BytesIO(), io.BytesIO()
    Image.fromarray(random.integers(0, 255, (64, 64, 3), dtype=np.uint8)).save(jpeg, "JPEG")
    Image.new("L", (10_000, 10_000)).save(huge, "PNG")
    half = jpeg.getvalue()[: len(jpeg.getvalue()) // 2]
    return {"not an image": b"hello", "half a JPEG": half, "100 megapixels": huge.getvalue()}


def refusal(project, data):
    answer = httpx.post(f"{project.url}/v1/predict", content=data, timeout=30, trust_env=False)
    return answer.status_code, answer.json()["error"]["code"]
