"""ONNX Runtime: what is judged is what serves."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from models.artifact import Artifact, ArtifactCorrupt, read_artifact

Floats = NDArray[np.float32]

INPUT = "images"
OUTPUTS = ("logits", "embedding")

_ERRORS_ONLY = 3


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
    def open(cls, path: Path) -> "Graph":
        """
        One thread per session: workers and batches give the parallelism, not the operators.

        Raises:
            ArtifactCorrupt: not a graph, or not one with our input and outputs.
        """
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        options.log_severity_level = _ERRORS_ONLY
        try:
            session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
        except Exception as problem:  # onnxruntime's errors share no base but Exception
            raise ArtifactCorrupt(f"{path} cannot be loaded: {problem}") from problem
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
    def open(cls, folder: Path) -> "Runtime":
        """
        Load a folder that holds model.onnx and artifact.json, its hash verified.

        Raises:
            ArtifactCorrupt: missing, damaged, or not what its record says.
        """
        artifact = read_artifact(folder)
        return cls(artifact, Graph.open(folder / "model.onnx"))

    def run(self, batch: Floats) -> Outputs:
        """Answers for normalised images, float32 (N, 3, S, S)."""
        logits, embedding = self._graph.run(batch)
        return Outputs(logits, softmax(logits, self.artifact.temperature), embedding)

    def warm_up(self) -> None:
        """Answer a blank image alone and in a batch, so that the first caller does not wait for allocations."""
        size = self.artifact.preprocessing.image_size
        for images in (1, 8):
            self.run(np.zeros((images, 3, size, size), dtype=np.float32))


def softmax(logits: Floats, temperature: float = 1.0) -> Floats:
    """Probabilities of logits (N, C) at a temperature; rows sum to 1."""
    scaled = logits / np.float32(temperature)
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    probabilities: Floats = powers / powers.sum(axis=1, keepdims=True)
    return probabilities
