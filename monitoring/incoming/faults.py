"""A look at the newest predictions: broken input, and whether a known or a new source is behind a change."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np

from models.prediction import Prediction
from monitoring.evidence_records import CHANNELS
from monitoring.incoming.broken_pictures import Fault, faults_of
from monitoring.reference.profile import ReferenceProfile
from monitoring.signals import atypical, new_values
from monitoring.watching.batch import Batch, batch_of

LEAST_LOOKED_AT = 20


@dataclass(frozen=True)
class Look:
    """
    The newest predictions, at most a window of them.

    Attributes:
        predictions: How many were looked at.
        fault: The faults in words: content that cannot be recovered; "" where none was seen.
        new_sources: Values of the declared source column that the reference never saw, with their number.
        known_source_changed: Share of pictures from known sources that are atypical, 0..1.
        new_values: The same as `new_sources` for every metadata column.
        faults: What `fault` says, each with its source and the class its pictures mostly came out as.
    """

    predictions: int = 0
    fault: str = ""
    new_sources: Mapping[str, int] | None = None
    known_source_changed: float = 0.0
    new_values: Mapping[str, Mapping[str, int]] | None = None
    faults: tuple[Fault, ...] = ()

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Look":
        known = cls(**{**document, "faults": ()})
        return replace(known, faults=tuple(Fault(**one) for one in document.get("faults", ())))


def look(profile: ReferenceProfile, predictions: Sequence[Prediction], source: str) -> Look:
    """
    What the pictures of the newest predictions say beyond "different".

    source: the metadata column that names the camera or site; "" where none is declared.
    """
    batch = batch_of(predictions, len(profile.classes), profile.embedding_size)
    return look_at(profile, batch, [row.image_sha256 for row in predictions], source)


def look_at(profile: ReferenceProfile, batch: Batch, files: Sequence[str], source: str) -> Look:
    """The same of columns; files: SHA-256 of each picture."""
    values = new_values(profile, batch)
    new_sources = values.get(source, {})
    picture = atypical(profile, batch)[CHANNELS[0]]
    known = np.array([bool(value := row.get(source, "")) and value not in new_sources for row in batch.metadata])
    changed = 0.0
    if source in profile.columns and known.any() and np.isfinite(picture[known]).any():
        changed = float(np.nanmean(picture[known]))
    faults = faults_of(profile, batch, files, source)
    return Look(
        predictions=len(batch),
        fault="; ".join(one.words for one in faults),
        new_sources=new_sources,
        known_source_changed=changed,
        new_values=values,
        faults=faults,
    )
