"""What a model runs on is what the settings say, or nothing."""

import numpy as np
import onnxruntime
import pytest

from models.artifact import ArtifactCorrupt
from models.runtime import Graph, ProviderMissing, Runtime
from tests.service.cards import SIZE, write_candidate

HAS_CUDA = "CUDAExecutionProvider" in onnxruntime.get_available_providers()


@pytest.fixture
def candidate(tmp_path):
    return write_candidate(tmp_path / "candidate")


def images(count: int) -> np.ndarray:
    return np.random.default_rng(count).normal(size=(count, 3, SIZE, SIZE)).astype(np.float32)


def test_more_threads_answer_the_same(candidate):
    one, three = (Runtime.open(candidate, threads=threads) for threads in (1, 3))

    for count in (1, 5):
        assert one.run(images(count)).logits == pytest.approx(three.run(images(count)).logits, abs=1e-6)


@pytest.mark.parametrize("most_batch", [1, 2, 32])
def test_a_warm_model_answers_any_batch(candidate, most_batch):
    runtime = Runtime.open(candidate)

    runtime.warm_up(most_batch)

    assert runtime.run(images(40)).probabilities.shape == (40, 3)


@pytest.mark.skipif(HAS_CUDA, reason="this onnxruntime has CUDA")
def test_cuda_without_its_package_is_an_error_that_names_it(candidate):
    with pytest.raises(ProviderMissing, match="pip install onnxruntime-gpu"):
        Runtime.open(candidate, provider="cuda")


# onnxruntime warns that it leaves the provider out, and goes on: that is what must not pass.
@pytest.mark.filterwarnings("ignore:Specified provider")
@pytest.mark.skipif(HAS_CUDA, reason="this onnxruntime has CUDA")
def test_a_provider_that_was_silently_left_out_is_an_error(candidate, monkeypatch):
    monkeypatch.setattr(onnxruntime, "get_available_providers", lambda: ["CUDAExecutionProvider"])

    with pytest.raises(ProviderMissing, match="would run on the CPU"):
        Runtime.open(candidate, provider="cuda")


@pytest.mark.skipif(not HAS_CUDA, reason="needs onnxruntime-gpu and a GPU")
def test_cuda_answers_as_the_cpu_does(candidate):
    here, there = (Runtime.open(candidate, provider=provider) for provider in ("cpu", "cuda"))

    assert there.run(images(9)).probabilities == pytest.approx(here.run(images(9)).probabilities, abs=1e-4)


def test_a_provider_nobody_knows_is_an_error(candidate):
    with pytest.raises(ProviderMissing, match=r'no provider "tpu"; serve\.provider may be cpu or cuda'):
        Runtime.open(candidate, provider="tpu")


def test_what_is_no_graph_is_corrupt(tmp_path):
    path = tmp_path / "model.onnx"
    path.write_bytes(b"no graph")

    with pytest.raises(ArtifactCorrupt, match="cannot be loaded"):
        Graph.open(path)
