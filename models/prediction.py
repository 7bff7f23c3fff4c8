"""What was answered, and what people later said the answer should have been."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Prediction:
    """
    One answer to one image, with what monitoring needs to look back at it.

    Attributes:
        id: a UUIDv7, or the caller's own.
        at: aware, UTC.
        confidence: probability of `label`, 0..1.
        probabilities: in the order of the model's classes, summing to 1.
        embedding: float32 (D,), the network's features before its head; None where it was not kept.
        statistics: of the image, in the order of `monitoring.image_stats.NAMES`.
        image_sha256: hex, of the bytes as sent.
        image_kept: whether those bytes are in the object store.
        metadata: flat, as the caller sent it.
        repeated: whether the id had been answered before.
        forward_ms: milliseconds of the forward pass that answered it, of its whole batch; None where not measured.
    """

    id: str
    at: datetime
    model_version: int
    label: str
    confidence: float
    probabilities: tuple[float, ...]
    embedding: NDArray[np.float32] | tuple[float, ...] | None
    statistics: tuple[float, ...]
    image_sha256: str
    image_width: int
    image_height: int
    image_format: str
    image_bytes: int
    image_kept: bool
    metadata: Mapping[str, str] = field(default_factory=dict)
    repeated: bool = False
    forward_ms: float | None = None


@dataclass(frozen=True)
class ShadowAnswer:
    """
    What a second model would have answered to an image that the champion (or a canary) answered.

    Attributes:
        id: of the prediction.
        at: when the prediction was answered; aware, UTC.
        champion_version: the version whose answer the caller got.
        forward_ms: of the shadow's forward pass; the `champion_` fields are those of the answer given.
        metadata: flat, as the caller sent it.
    """

    id: str
    at: datetime
    champion_version: int
    champion_label: str
    champion_confidence: float
    champion_forward_ms: float | None
    version: int
    label: str
    confidence: float
    forward_ms: float
    metadata: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Label:
    """
    What a person, or a later process, says the answer should have been.

    Attributes:
        id: of the prediction.
        at: when it was said; aware, UTC.
        sequence: orders labels of one id; the last one counts.
    """

    id: str
    label: str
    at: datetime
    labelled_by: str = ""
    sequence: int = 0
