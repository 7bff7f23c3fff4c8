"""ONNX Runtime: what is judged is what serves."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from infra.errors import UserError
from models.artifact import Artifact, ArtifactCorrupt, read_artifact

Floats = NDArray[np.float32]

INPUT = "images"
OUTPUTS = ("logits", "embedding")
PROVIDERS = ("cpu", "cuda")

_ERRORS_ONLY = 3
_CPU, _CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"


class ProviderMissing(UserError):
    """What the settings want the model to run on is not there; answering from something else would be a surprise."""


@dataclass(frozen=True)
class Outputs:
    """
    Answers for a batch.

    Attributes:
        logits: float32 (N, C), as the graph gives them.
        probabilities: float32 (N, C), rows sum to 1, after the temperature.
        embedding: float32 (N, D).
    """

    logits: Floats
    probabilities: Floats
    embedding: Floats


class Graph:
    """An exported network, before anything is known of classes or temperature."""

    def __init__(self, session: onnxruntime.InferenceSession) -> None:
        self._session = session

    @classmethod
    def open(cls, path: Path, *, provider: str = "cpu", threads: int = 1) -> "Graph":
        """
        Load a graph; provider: "cpu", or "cuda", which leaves single operators it lacks to the CPU.

        threads: of one forward pass. One is best: workers and batches give the parallelism, not the operators.

        Raises:
            ProviderMissing: this machine, or this build of ONNX Runtime, cannot run on that provider.
            ArtifactCorrupt: not a graph, or not one with our input and outputs.
        """
        providers = _providers(provider)
        try:
            session = onnxruntime.InferenceSession(path, _options(threads), providers=providers)
        except Exception as problem:  # onnxruntime's errors share no base but Exception
            raise ArtifactCorrupt(f"{path} cannot be loaded: {problem}") from problem
        # A provider whose libraries cannot be loaded is left out with no more than a line in the log.
        if session.get_providers()[0] != providers[0][0]:
            raise ProviderMissing(
                f'serve.provider is "{provider}", but ONNX Runtime could not start it here and would run on the CPU: '
                "look for a missing driver, CUDA or cuDNN library of the version that onnxruntime-gpu asks for, "
                'or set serve.provider to "cpu"'
            )
        names = [entry.name for entry in (*session.get_inputs(), *session.get_outputs())]
        if names != [INPUT, *OUTPUTS]:
            raise ArtifactCorrupt(f"{path} has inputs and outputs {names}; expected {[INPUT, *OUTPUTS]}")
        return cls(session)

    def run(self, batch: Floats) -> tuple[Floats, Floats]:
        """Logits (N, C) and embeddings (N, D) of normalised images, float32 (N, 3, S, S)."""
        logits, embedding = self._session.run(list(OUTPUTS), {INPUT: batch})
        return logits, embedding


class Runtime:
    """A model, ready to answer. Safe to call from several threads."""

    def __init__(self, artifact: Artifact, graph: Graph) -> None:
        self.artifact = artifact
        self._graph = graph

    @classmethod
    def open(cls, folder: Path, *, provider: str = "cpu", threads: int = 1) -> "Runtime":
        """
        Load a folder that holds model.onnx and artifact.json, its hash verified; see `Graph.open`.

        Raises:
            ArtifactCorrupt: missing, damaged, or not what its record says.
            ProviderMissing: it cannot run on that provider here.
        """
        artifact = read_artifact(folder)
        return cls(artifact, Graph.open(folder / "model.onnx", provider=provider, threads=threads))

    def run(self, batch: Floats) -> Outputs:
        """Answers for normalised images, float32 (N, 3, S, S)."""
        logits, embedding = self._graph.run(batch)
        return Outputs(logits, softmax(logits, self.artifact.temperature), embedding)

    def warm_up(self, most_batch: int = 8) -> None:
        """Answer a blank image alone and in the largest batch, so that no caller waits for the first allocations."""
        size = self.artifact.preprocessing.image_size
        for images in sorted({1, most_batch}):
            self.run(np.zeros((images, 3, size, size), dtype=np.float32))


def softmax(logits: Floats, temperature: float = 1.0) -> Floats:
    """Probabilities of logits (N, C) at a temperature; rows sum to 1."""
    scaled = logits / np.float32(temperature)
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    probabilities: Floats = powers / powers.sum(axis=1, keepdims=True)
    return probabilities


def _providers(provider: str) -> list[tuple[str, dict[str, str]]]:
    if provider == "cpu":
        return [(_CPU, {})]
    if provider != "cuda":
        raise ProviderMissing(f'there is no provider "{provider}"; serve.provider may be {" or ".join(PROVIDERS)}')
    if _CUDA not in onnxruntime.get_available_providers():
        raise ProviderMissing(
            'serve.provider is "cuda", but the installed onnxruntime runs on the CPU alone: '
            '`pip uninstall onnxruntime`, then `pip install onnxruntime-gpu`, or set serve.provider to "cpu"'
        )
    # TF32 keeps ten bits of a number: the golden answers, and the parity of the export, would not hold.
    return [(_CUDA, {"use_tf32": "0"}), (_CPU, {})]


def _options(threads: int) -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.log_severity_level = _ERRORS_ONLY
    # Threads that wait in a loop burn the core that another worker needs, and a container's CPU quota with it.
    for pool in ("intra_op", "inter_op"):
        options.add_session_config_entry(f"session.{pool}.allow_spinning", "0")
    return options
