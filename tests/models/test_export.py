"""From trained weights to the ONNX that serves, and back through the runtime."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image

from infra.errors import UserError
from models import backbone
from models.artifact import ArtifactCorrupt, read_artifact
from models.evaluation import evaluate
from models.examples import Example
from models.export import export
from models.golden import check_golden
from models.runtime import Runtime, softmax
from models.scorecard import score
from models.training.loop import train
from models.training.plan import TrainingPlan, write_plan
from models.training.run_folder import RunExample, write_examples
from models.weights import load_champion, read_weights

pytestmark = pytest.mark.slow  # the exporter alone takes some seconds

PLAN = TrainingPlan(
    backbone="test_resnet",
    classes=("dark", "light"),
    image_size=16,
    mean=(0.5,) * 3,
    std=(0.5,) * 3,
    batch_images=16,
    most_epochs_per_stage=4,
    device="cpu",
    threads=1,
    name="cards",
    reason="first",
)


@pytest.fixture(scope="module")
def run_dir(tmp_path_factory):
    """A small network, trained on dark and light cards and exported."""
    folder = tmp_path_factory.mktemp("run")
    chance = np.random.default_rng(0)
    rows = []
    for number in range(48):
        label, grey = (("dark", 40), ("light", 210))[number % 2]
        pixels = np.clip(grey + chance.normal(0, 30, (16, 16, 3)), 0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{number}.png")
        rows.append(RunExample(f"{number}.png", label, ("train", "train", "select")[number % 3]))
    write_examples(folder, rows)
    write_plan(PLAN, folder)
    threads = torch.get_num_threads()
    train(folder)
    export(folder)
    torch.set_num_threads(threads)
    return folder


@pytest.fixture
def candidate(run_dir):
    return run_dir / "candidate"


def examples(run_dir, count: int = 12) -> list[Example]:
    return [
        Example(run_dir / f"{number}.png", ("dark", "light")[number % 2], group=str(number)) for number in range(count)
    ]


def test_the_graph_answers_as_the_network_does_at_any_batch_size(candidate):
    model = backbone.build("test_resnet", {}, 2).eval()
    load_champion(model, read_weights(candidate / "model.safetensors"), PLAN.classes)
    runtime = Runtime.open(candidate)

    for images in (1, 2, 5, 65):
        batch = np.random.default_rng(images).normal(size=(images, 3, 16, 16)).astype(np.float32)
        with torch.inference_mode():
            expected = model(torch.from_numpy(batch)).numpy()
        outputs = runtime.run(batch)
        assert outputs.logits == pytest.approx(expected, abs=1e-4)
        assert outputs.embedding.shape == (images, runtime.artifact.embedding_size)


def test_the_artifact_tells_where_the_model_comes_from(candidate):
    artifact = read_artifact(candidate, with_weights=True)

    assert (artifact.name, artifact.classes, artifact.licence) == ("cards", ("dark", "light"), "none")
    assert (artifact.lineage.reason, artifact.lineage.parent_version) == ("first", None)
    assert artifact.parity.holds
    assert json.loads((candidate / "parity.json").read_text())["same_answers"] is True
    assert sorted(path.name for path in candidate.iterdir()) == [
        "artifact.json",
        "model.onnx",
        "model.safetensors",
        "parity.json",
        "training.json",
    ]


def test_an_export_carries_its_golden_answers(candidate):
    runtime = Runtime.open(candidate)

    assert runtime.artifact.preprocessing.version == 2
    assert runtime.artifact.golden is not None
    assert check_golden(runtime).gap == pytest.approx(0, abs=1e-5)


def test_the_temperature_is_applied_after_the_graph(candidate):
    runtime = Runtime.open(candidate)
    batch = np.random.default_rng(0).normal(size=(3, 3, 16, 16)).astype(np.float32)

    outputs = runtime.run(batch)

    assert outputs.probabilities == pytest.approx(softmax(outputs.logits, runtime.artifact.temperature))
    assert outputs.probabilities.sum(axis=1) == pytest.approx(np.ones(3), abs=1e-6)


def test_a_changed_graph_is_not_opened(candidate, tmp_path):
    for name in ("artifact.json", "model.onnx"):
        (tmp_path / name).write_bytes((candidate / name).read_bytes())
    with (tmp_path / "model.onnx").open("ab") as file:
        file.write(b"!")

    with pytest.raises(ArtifactCorrupt, match=r"model\.onnx is not the file that was exported"):
        Runtime.open(tmp_path)


def test_an_empty_folder_holds_no_model(tmp_path):
    with pytest.raises(ArtifactCorrupt, match=r"artifact\.json is missing"):
        Runtime.open(tmp_path)


def test_an_unfinished_run_is_not_exported(tmp_path):
    with pytest.raises(UserError, match="training has not finished"):
        export(tmp_path)


def test_two_readings_of_the_same_images_share_a_fingerprint(run_dir, candidate):
    runtime = Runtime.open(candidate)

    first, again = (evaluate(runtime, examples(run_dir)) for _ in range(2))
    fewer = evaluate(runtime, examples(run_dir, 11))

    assert score(first).accuracy == 1.0
    assert first.fingerprint == again.fingerprint
    assert first.fingerprint != fewer.fingerprint


def test_images_that_cannot_be_judged_are_named(run_dir, candidate):
    runtime = Runtime.open(candidate)
    broken = [*examples(run_dir, 3), Example(run_dir / "gone.png", "dark")]

    with pytest.raises(UserError, match="1 of 4 images to judge cannot be read"):
        evaluate(runtime, broken)
    with pytest.raises(UserError, match="also bear purple"):
        evaluate(runtime, [replace(broken[0], label="purple")])
