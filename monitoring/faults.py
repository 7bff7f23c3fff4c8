"""A look at the newest predictions: broken input, and whether a known or a new source is behind a change."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from models.prediction import Prediction
from monitoring.batch import batch_of
from monitoring.evidence import CHANNELS
from monitoring.image_stats import NAMES
from monitoring.reference import ReferenceProfile
from monitoring.signals import atypical, new_values

LEAST_LOOKED_AT = 20

# Two and a half grey levels of 255: what a covered lens or a black frame leaves.
_BLANK_CONTRAST = 0.01
_MOST_BROKEN = 0.5


@dataclass(frozen=True)
class Look:
    """
    The newest predictions, at most a window of them.

    Attributes:
        predictions: How many were looked at.
        fault: In words, content that cannot be recovered: blank or stuck pictures; "" where none was seen.
        new_sources: Values of the declared source column that the reference never saw, with their number.
        known_source_changed: Share of pictures from known sources that are atypical, 0..1.
        new_values: The same as `new_sources` for every metadata column.
    """

    predictions: int = 0
    fault: str = ""
    new_sources: Mapping[str, int] | None = None
    known_source_changed: float = 0.0
    new_values: Mapping[str, Mapping[str, int]] | None = None


def look(profile: ReferenceProfile, predictions: Sequence[Prediction], source: str) -> Look:
    """
    What the pictures of the newest predictions say beyond "different".

    source: the metadata column that names the camera or site; "" where none is declared.
    """
    batch = batch_of(predictions, len(profile.classes), profile.embedding_size)
    values = new_values(profile, batch.metadata)
    new_sources = values.get(source, {})
    picture = atypical(profile, batch)[CHANNELS[0]]
    known = np.array([bool(value := row.get(source, "")) and value not in new_sources for row in batch.metadata])
    changed = 0.0
    if source in profile.columns and known.any() and np.isfinite(picture[known]).any():
        changed = float(np.nanmean(picture[known]))
    return Look(
        predictions=len(predictions),
        fault=_blank(profile, batch.statistics) or _stuck(predictions),
        new_sources=new_sources,
        known_source_changed=changed,
        new_values=values,
    )


def _blank(profile: ReferenceProfile, statistics: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> str:
    contrast = NAMES.index("contrast")
    usual = float((profile.batch.statistics[:, contrast] < _BLANK_CONTRAST).mean())
    blank = float((statistics[:, contrast] < _BLANK_CONTRAST).mean()) if len(statistics) else 0.0
    if blank < max(_MOST_BROKEN, 2 * usual):
        return ""
    return f"{blank:.0%} of the newest {len(statistics)} pictures are blank"


def _stuck(predictions: Sequence[Prediction]) -> str:
    if len(predictions) < LEAST_LOOKED_AT:
        return ""
    _, count = Counter(row.image_sha256 for row in predictions).most_common(1)[0]
    if count < _MOST_BROKEN * len(predictions):
        return ""
    return f"{count} of the newest {len(predictions)} pictures are the very same file"
