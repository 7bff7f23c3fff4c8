"""`artifact.json`: what a served model is, where it comes from, and the hashes that keep it honest."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from infra.errors import UserError
from infra.files import sha256_of, write_atomically
from models.preprocessing import Preprocessing


class ArtifactCorrupt(UserError):
    """An artifact that is missing, unreadable, or not what its record says; it is not to be served."""


# Beyond these an export is refused.
MOST_PROBABILITY_GAP, MOST_EMBEDDING_GAP = 1e-4, 1e-3


@dataclass(frozen=True)
class Parity:
    """
    How far the exported graph is from the trained network, at most, over all batch sizes tried.

    Attributes:
        probability: largest absolute difference of a probability.
        embedding: largest difference of an embedding, relative to its length.
        same_answers: whether every image got the same class.
        batches: the sizes tried.
    """

    probability: float
    embedding: float
    same_answers: bool
    batches: tuple[int, ...]

    @property
    def holds(self) -> bool:
        """Whether the graph may stand for the network."""
        return self.probability <= MOST_PROBABILITY_GAP and self.embedding <= MOST_EMBEDDING_GAP and self.same_answers


@dataclass(frozen=True)
class Lineage:
    """
    Where the weights come from.

    Attributes:
        parent_version: of the champion they started from; None where they did not.
        data_fingerprint: of the bytes, labels and roles of the images for training and selection.
        trained_at: ISO 8601, UTC.
    """

    parent_version: int | None
    reason: str
    data_fingerprint: str
    trained_at: str
    seed: int
    strategy: str


@dataclass(frozen=True)
class Golden:
    """
    What the exported graph answered to a few fixed images; `models.golden` draws them and compares.

    Attributes:
        inputs_sha256: of the images' pixels, hex.
        probabilities: of each image, in the order of the classes.
        embedding_lengths: the Euclidean length of each image's embedding.
    """

    inputs_sha256: str
    probabilities: tuple[tuple[float, ...], ...]
    embedding_lengths: tuple[float, ...]

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Golden":
        return cls(
            inputs_sha256=str(value["inputs_sha256"]),
            probabilities=tuple(tuple(float(share) for share in row) for row in value["probabilities"]),
            embedding_lengths=tuple(float(length) for length in value["embedding_lengths"]),
        )


@dataclass(frozen=True)
class Artifact:
    """
    A model, ready to be served.

    Attributes:
        classes: in the order of the outputs.
        temperature: the logits are divided by it before the softmax.
        embedding_size: numbers in an embedding.
        backbone: the timm network.
        options: further arguments it was built with.
        licence: of the weights it started from; "none" when from scratch, "unknown" when nobody said.
        onnx_sha256: of model.onnx, hex.
        onnx_bytes: its size.
        weights_sha256: of model.safetensors, hex.
        golden: None in artifacts that were exported before it was kept.
    """

    name: str
    classes: tuple[str, ...]
    preprocessing: Preprocessing
    temperature: float
    embedding_size: int
    backbone: str
    options: Mapping[str, Any]
    onnx_sha256: str
    onnx_bytes: int
    weights_sha256: str
    licence: str
    lineage: Lineage
    parity: Parity
    golden: Golden | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "classes": list(self.classes),
            "preprocessing": self.preprocessing.to_json(),
            "parity": {**asdict(self.parity), "batches": list(self.parity.batches)},
        }

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Artifact":
        return cls(
            **{
                **value,
                "classes": tuple(value["classes"]),
                "preprocessing": Preprocessing.from_json(value["preprocessing"]),
                "lineage": Lineage(**value["lineage"]),
                "parity": Parity(**{**value["parity"], "batches": tuple(value["parity"]["batches"])}),
                "golden": Golden.from_json(value["golden"]) if value.get("golden") else None,
            }
        )


def write_artifact(artifact: Artifact, folder: Path) -> None:
    """Write artifact.json; it comes last, so its existence means that the files beside it are complete."""
    write_atomically(folder / "artifact.json", json.dumps(artifact.to_json(), indent=2) + "\n")


def read_artifact(folder: Path, *, with_weights: bool = False) -> Artifact:
    """
    The artifact of a folder, its graph's hash verified; with_weights: that of model.safetensors too.

    Raises:
        ArtifactCorrupt: missing, unreadable, or a hash that differs.
    """
    path = folder / "artifact.json"
    try:
        artifact = Artifact.from_json(json.loads(path.read_text()))
    except FileNotFoundError as problem:
        raise ArtifactCorrupt(f"{folder} holds no model: artifact.json is missing") from problem
    except (ValueError, TypeError, KeyError, AttributeError) as problem:
        raise ArtifactCorrupt(f"{path} is unreadable: {problem}") from problem
    _verify(folder / "model.onnx", artifact.onnx_sha256)
    if with_weights:
        _verify(folder / "model.safetensors", artifact.weights_sha256)
    return artifact


def _verify(path: Path, expected: str) -> None:
    if not path.is_file():
        raise ArtifactCorrupt(f"{path} is missing")
    found = sha256_of(path)
    if found != expected:
        raise ArtifactCorrupt(
            f"{path} is not the file that was exported: SHA-256 {found[:12]}…, expected {expected[:12]}…; "
            "fetch this version again"
        )
