"""What is kept of a block: the predictions with the smallest hash of their id, so that it can be measured again."""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from monitoring.image_stats import NAMES
from monitoring.reference.profile import ReferenceProfile
from monitoring.watching.batch import Batch, Floats

Numbers = NDArray[np.float32]


@dataclass(frozen=True)
class BlockSample:
    """
    Predictions of one block in the order of their hash, a row each.

    Attributes:
        version: Of the model whose answers these are.
        classes: Of that model, in the order of the probabilities.
        hashes: shape (N,), of the ids.
        ids: Of the predictions; what is to be forgotten is found by them.
        images: SHA-256 of each image.
        statistics: shape (N, S).
        probabilities: shape (N, K); NaN where the model has not answered.
        embedding: shape (N, D); likewise.
        labels: As predicted; "" where the model has not answered.
        metadata: Flat, as the callers sent it.
    """

    version: int
    classes: tuple[str, ...]
    hashes: NDArray[np.uint64]
    ids: tuple[str, ...]
    images: tuple[str, ...]
    statistics: Numbers
    probabilities: Numbers
    embedding: Numbers
    labels: tuple[str, ...]
    metadata: tuple[Mapping[str, str], ...]

    def __len__(self) -> int:
        return len(self.ids)

    def batch(self, profile: ReferenceProfile) -> Batch:
        """As columns, to be measured beside the profile; what is not of its classes and its size is NaN."""
        return Batch(
            statistics=_fitted(self.statistics[:, : len(NAMES)], len(NAMES)),
            probabilities=_fitted(self.probabilities, len(profile.classes), fits=self.classes == profile.classes),
            embedding=_fitted(
                self.embedding, profile.embedding_size, fits=self.embedding.shape[1] == profile.embedding_size
            ),
            labels=self.labels,
            metadata=self.metadata,
        )

    def take(self, places: Sequence[int] | NDArray[np.intp]) -> "BlockSample":
        """These rows alone."""
        rows = np.asarray(places, dtype=np.intp)
        return replace(
            self,
            hashes=self.hashes[rows],
            ids=tuple(self.ids[row] for row in rows),
            images=tuple(self.images[row] for row in rows),
            statistics=self.statistics[rows],
            probabilities=self.probabilities[rows],
            embedding=self.embedding[rows],
            labels=tuple(self.labels[row] for row in rows),
            metadata=tuple(self.metadata[row] for row in rows),
        )

    def without(self, identifier: str) -> "BlockSample":
        """The sample without one prediction."""
        return self.take([place for place, known in enumerate(self.ids) if known != identifier])

    def merged(self, other: "BlockSample", most: int) -> "BlockSample":
        """
        The sample of both blocks as one: the smallest hashes of all.

        Exact, where each holds the smallest `most` of its block; both must be of one model.
        """
        both = BlockSample(
            self.version,
            self.classes,
            np.concatenate([self.hashes, other.hashes]),
            self.ids + other.ids,
            self.images + other.images,
            np.concatenate([self.statistics, other.statistics]),
            np.concatenate([self.probabilities, other.probabilities]),
            np.concatenate([self.embedding, other.embedding]),
            self.labels + other.labels,
            self.metadata + other.metadata,
        )
        return both.take(np.argsort(both.hashes, kind="stable")[:most])

    def to_bytes(self) -> bytes:
        """As a NumPy archive without pickled objects."""
        facts = {
            "version": self.version,
            "classes": self.classes,
            "ids": self.ids,
            "images": self.images,
            "labels": self.labels,
            "metadata": [dict(row) for row in self.metadata],
        }
        buffer = io.BytesIO()
        np.savez_compressed(
            buffer,
            facts=np.frombuffer(json.dumps(facts).encode(), dtype=np.uint8),
            hashes=self.hashes,
            statistics=self.statistics.astype(np.float32),
            probabilities=self.probabilities.astype(np.float32),
            embedding=self.embedding.astype(np.float32),
        )
        return buffer.getvalue()

    @classmethod
    def from_bytes(cls, data: bytes) -> "BlockSample":
        with np.load(io.BytesIO(data), allow_pickle=False) as arrays:
            facts: dict[str, Any] = json.loads(arrays["facts"].tobytes())
            return cls(
                version=facts["version"],
                classes=tuple(facts["classes"]),
                hashes=arrays["hashes"],
                ids=tuple(facts["ids"]),
                images=tuple(facts["images"]),
                statistics=arrays["statistics"],
                probabilities=arrays["probabilities"],
                embedding=arrays["embedding"],
                labels=tuple(facts["labels"]),
                metadata=tuple(facts["metadata"]),
            )


def sample_key(name: str, number: int, epoch: int) -> str:
    """Where the sample of a block lies; with each new reference it is another object, so that none is half-done."""
    return f"{samples_of(name)}{number}/{epoch}.npz"


def samples_of(name: str) -> str:
    """What the keys of all samples of a model begin with."""
    return f"blocks/{name}/"


def _fitted(values: Numbers, width: int, *, fits: bool = True) -> Floats:
    """Shape (N, width): what is there, and NaN beyond it; all NaN where it does not fit at all."""
    found = np.full((len(values), width), np.nan)
    if fits:
        found[:, : values.shape[1]] = values
    return found
