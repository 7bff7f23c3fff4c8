"""A model's answers to labelled images, one row per image: what scorecards and gates are made of."""

import hashlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from infra.errors import UserError
from models.examples import Example
from models.images import ImageLimits, ImageRefused, Pixels
from models.preprocessing import decode_for, normalise, resize
from models.runtime import Runtime

_BATCH = 64
_NAMED = 5
_LIMITS = ImageLimits(most_bytes=500_000_000, most_pixels=500_000_000)


@dataclass(frozen=True)
class Judged:
    """
    Answers to labelled images, in the order of the examples.

    Attributes:
        fingerprint: of the images' bytes and labels in this order; two models judged on the same images share it.
        classes: the model's, in the order of its outputs.
        images: path or key of each.
        labels: class numbers, shape (N,).
        predictions: class numbers, shape (N,).
        probabilities: float32 (N, C).
        embeddings: float32 (N, D).
        groups: of each image.
        sources: manifest or production, of each image.
        metadata: of each image.
    """

    fingerprint: str
    classes: tuple[str, ...]
    images: tuple[str, ...]
    labels: NDArray[np.int64]
    predictions: NDArray[np.int64]
    probabilities: NDArray[np.float32]
    embeddings: NDArray[np.float32]
    groups: tuple[str, ...]
    sources: tuple[str, ...]
    metadata: tuple[Mapping[str, str], ...]

    def __len__(self) -> int:
        return len(self.labels)

    def only(self, rows: NDArray[np.bool_]) -> "Judged":
        """The answers to some of the images, with a fingerprint of their own."""
        chosen = np.flatnonzero(rows).tolist()
        return Judged(
            fingerprint=hashlib.sha256(f"{self.fingerprint} {chosen}".encode()).hexdigest(),
            classes=self.classes,
            images=tuple(self.images[row] for row in chosen),
            labels=self.labels[rows],
            predictions=self.predictions[rows],
            probabilities=self.probabilities[rows],
            embeddings=self.embeddings[rows],
            groups=tuple(self.groups[row] for row in chosen),
            sources=tuple(self.sources[row] for row in chosen),
            metadata=tuple(self.metadata[row] for row in chosen),
        )


def evaluate(
    runtime: Runtime,
    examples: Sequence[Example],
    read_image: Callable[[Example], bytes] | None = None,
    progress: Callable[[int, int], None] | None = None,
) -> Judged:
    """
    Answer every example through the graph that serves.

    read_image: bytes of an example's image; files are read where it is not given.
    progress: called as (done, of) after each batch.

    Raises:
        UserError: no examples, labels the model does not know, or images that cannot be read.
    """
    classes = runtime.artifact.classes
    _check(examples, classes)
    number_of = {name: number for number, name in enumerate(classes)}
    digest = hashlib.sha256()
    probabilities, embeddings = [], []
    done = 0
    for pixels, lines in _batches(runtime, examples, read_image or _file):
        outputs = runtime.run(normalise(pixels, runtime.artifact.preprocessing))
        probabilities.append(outputs.probabilities)
        embeddings.append(outputs.embedding)
        digest.update("".join(lines).encode())
        done += len(lines)
        if progress:
            progress(done, len(examples))
    scores = np.concatenate(probabilities)
    return Judged(
        fingerprint=digest.hexdigest(),
        classes=classes,
        images=tuple(str(example.image) for example in examples),
        labels=np.array([number_of[example.label] for example in examples], dtype=np.int64),
        predictions=scores.argmax(axis=1).astype(np.int64),
        probabilities=scores,
        embeddings=np.concatenate(embeddings),
        groups=tuple(example.group or str(example.image) for example in examples),
        sources=tuple(example.source for example in examples),
        metadata=tuple(example.metadata for example in examples),
    )


def joined(first: Judged, second: Judged | None) -> Judged:
    """Answers of one model to two sets of images as answers to one set."""
    if second is None:
        return first
    return Judged(
        fingerprint=hashlib.sha256(f"{first.fingerprint} {second.fingerprint}".encode()).hexdigest(),
        classes=first.classes,
        images=first.images + second.images,
        labels=np.concatenate([first.labels, second.labels]),
        predictions=np.concatenate([first.predictions, second.predictions]),
        probabilities=np.concatenate([first.probabilities, second.probabilities]),
        embeddings=np.concatenate([first.embeddings, second.embeddings]),
        groups=first.groups + second.groups,
        sources=first.sources + second.sources,
        metadata=first.metadata + second.metadata,
    )


def _check(examples: Sequence[Example], classes: Sequence[str]) -> None:
    if not examples:
        raise UserError("there is no image to judge the model on")
    unknown = sorted({example.label for example in examples} - set(classes))
    if unknown:
        raise UserError(
            f"the model knows {', '.join(classes)}; the images to judge it on also bear {', '.join(unknown)}"
        )


def _batches(
    runtime: Runtime, examples: Sequence[Example], read_image: Callable[[Example], bytes]
) -> Iterator[tuple[Pixels, list[str]]]:
    refused: list[str] = []
    preprocessing = runtime.artifact.preprocessing
    rest = iter(examples)
    while batch := list(islice(rest, _BATCH)):
        pixels, lines = [], []
        for example in batch:
            try:
                data = read_image(example)
                pixels.append(resize(decode_for(data, preprocessing, _LIMITS).pixels, preprocessing))
                lines.append(f"{hashlib.sha256(data).hexdigest()} {example.label}\n")
            except (ImageRefused, OSError) as problem:
                refused.append(f"{example.image}: {problem}")
        if not refused:
            yield np.stack(pixels), lines
    if refused:
        listed = "\n  ".join([*refused[:_NAMED], *(["…"] if len(refused) > _NAMED else [])])
        raise UserError(f"{len(refused)} of {len(examples)} images to judge cannot be read:\n  {listed}")


def _file(example: Example) -> bytes:
    return Path(example.image).read_bytes()
