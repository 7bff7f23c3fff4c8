"""A block's sample as another champion answers it: its images, fetched by their hash, through the exported model."""

from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from infra.errors import UserError
from infra.objects import ObjectMissing, ObjectStore
from models.preprocessing import decode_for, normalise, resize
from models.runtime import Runtime
from monitoring.blocks.sample import BlockSample
from monitoring.prediction_log import image_key
from monitoring.reference.profile import ReferenceProfile

Pixels = NDArray[np.uint8]

_BATCH = 64


@dataclass(frozen=True)
class Rescored:
    """`not_kept` images could not be shown, because they are gone or cannot be read; their rows have no answer."""

    sample: BlockSample
    not_kept: int


def rescore(sample: BlockSample, runtime: Runtime, objects: ObjectStore, profile: ReferenceProfile) -> Rescored:
    """The sample with the answers of the profile's version in place of the other's; statistics and metadata stay."""
    blank = unanswered(sample, profile).sample
    probabilities, embedding, labels = blank.probabilities, blank.embedding, list(blank.labels)
    read = _reader(runtime, objects)
    missing = 0
    for start in range(0, len(sample), _BATCH):
        places = range(start, min(len(sample), start + _BATCH))
        pictures = {place: picture for place in places if (picture := read(sample.images[place])) is not None}
        missing += len(places) - len(pictures)
        if not pictures:
            continue
        outputs = runtime.run(normalise(np.stack(list(pictures.values())), runtime.artifact.preprocessing))
        rows = list(pictures)
        probabilities[rows] = outputs.probabilities
        embedding[rows] = outputs.embedding
        for row, answer in zip(rows, outputs.probabilities.argmax(axis=1), strict=True):
            labels[row] = profile.classes[answer]
    return Rescored(replace(blank, labels=tuple(labels)), missing)


def unanswered(sample: BlockSample, profile: ReferenceProfile) -> Rescored:
    """
    The sample where the model cannot be run: what does not depend on its answers is still known.

    Its tables are as wide as those of samples with answers, so that they can be merged.
    """
    blank = replace(
        sample,
        version=profile.version,
        classes=profile.classes,
        probabilities=np.full((len(sample), len(profile.classes)), np.nan, dtype=np.float32),
        embedding=np.full((len(sample), profile.embedding_size), np.nan, dtype=np.float32),
        labels=("",) * len(sample),
    )
    return Rescored(blank, 0)


def _reader(runtime: Runtime, objects: ObjectStore) -> Callable[[str], Pixels | None]:
    preprocessing = runtime.artifact.preprocessing

    def read(sha256: str) -> Pixels | None:
        try:
            return resize(decode_for(objects.get(image_key(sha256)), preprocessing).pixels, preprocessing)
        except (ObjectMissing, UserError):
            return None

    return read
