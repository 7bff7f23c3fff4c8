"""A model that does not answer here as it did when it was judged is found out before it serves."""

import hashlib
import json
import shutil

import numpy as np
import pytest

from infra.files import sha256_of
from models.artifact import ArtifactCorrupt, read_artifact
from models.golden import MOST_GOLDEN_GAP, check_golden, golden_squares
from models.runtime import Runtime
from tests.service.cards import write_candidate


@pytest.fixture
def candidate(tmp_path):
    return write_candidate(tmp_path / "candidate")


def edited(folder, **changes):
    record = json.loads((folder / "artifact.json").read_text())
    (folder / "artifact.json").write_text(json.dumps({**record, **changes}))


def with_the_graph_of(folder, other):
    """Another graph in its place, with a record of its files that is right."""
    shutil.copy(other / "model.onnx", folder / "model.onnx")
    edited(folder, onnx_sha256=sha256_of(folder / "model.onnx"))


def test_an_untouched_model_answers_as_when_it_was_judged(candidate):
    found = check_golden(Runtime.open(candidate))

    assert found.gap == pytest.approx(0, abs=1e-6)
    assert found.words.startswith("answers here as when it was judged")


@pytest.mark.parametrize("sharpness", [8.1, 7.9, -8.0, float("nan")])
def test_other_weights_with_a_right_hash_are_refused(candidate, tmp_path, sharpness):
    with_the_graph_of(candidate, write_candidate(tmp_path / "other", sharpness=sharpness))
    runtime = Runtime.open(candidate)

    with pytest.raises(ArtifactCorrupt, match="does not answer on this machine as it did when it was judged"):
        check_golden(runtime)


def test_another_temperature_is_refused(candidate):
    edited(candidate, temperature=1.1)
    runtime = Runtime.open(candidate)

    with pytest.raises(ArtifactCorrupt, match="golden answers differ by"):
        check_golden(runtime)


@pytest.mark.parametrize("factor", [1 + 3 * MOST_GOLDEN_GAP, 0.0])
def test_another_embedding_is_refused(candidate, factor):
    golden = json.loads((candidate / "artifact.json").read_text())["golden"]
    lengths = [length * factor for length in golden["embedding_lengths"]]
    edited(candidate, golden={**golden, "embedding_lengths": lengths})
    runtime = Runtime.open(candidate)

    with pytest.raises(ArtifactCorrupt, match="golden answers differ by"):
        check_golden(runtime)


def test_another_number_of_classes_is_refused(candidate):
    golden = json.loads((candidate / "artifact.json").read_text())["golden"]
    edited(candidate, golden={**golden, "probabilities": [row[:2] for row in golden["probabilities"]]})
    runtime = Runtime.open(candidate)

    with pytest.raises(ArtifactCorrupt, match="gives 3 probabilities for each image, and gave 2"):
        check_golden(runtime)


def test_a_golden_record_that_cannot_be_read_makes_the_artifact_corrupt(candidate):
    edited(candidate, golden={"inputs_sha256": ""})

    with pytest.raises(ArtifactCorrupt, match="unreadable"):
        read_artifact(candidate)


def test_an_artifact_from_before_there_were_golden_answers_is_not_compared(candidate):
    record = json.loads((candidate / "artifact.json").read_text())
    del record["golden"]
    (candidate / "artifact.json").write_text(json.dumps(record))

    found = check_golden(Runtime.open(candidate))

    assert found.gap is None
    assert "before golden answers were kept" in found.words


def test_images_that_this_release_draws_otherwise_are_not_compared(candidate):
    golden = json.loads((candidate / "artifact.json").read_text())["golden"]
    edited(candidate, golden={**golden, "inputs_sha256": "0" * 64})

    found = check_golden(Runtime.open(candidate))

    assert found.gap is None
    assert "draws other golden images" in found.words


def test_golden_answers_survive_json(candidate):
    artifact = read_artifact(candidate)

    assert artifact.golden is not None
    assert type(artifact).from_json(json.loads(json.dumps(artifact.to_json()))) == artifact


@pytest.mark.parametrize("size", [1, 3, 32, 224])
def test_golden_images_are_four_different_ones_of_any_size(size):
    squares = golden_squares(size)

    assert squares.shape == (4, size, size, 3)
    assert squares.dtype == np.uint8
    assert len({square.tobytes() for square in squares}) == 4


def test_golden_images_stay_what_they_were():
    """Should this fail, artifacts in use would no longer be compared: draw them as before, or say so in the changes."""
    digest = hashlib.sha256(golden_squares(32).tobytes()).hexdigest()

    assert digest == "36dae41b8033ef7c8dd4744eefdd439ef97cdfc40fa379604a233bceda0491af"
