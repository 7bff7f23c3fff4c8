"""Predictions, labels and shadows as bytes: a small JSON head, then the float32 arrays as they lie in memory."""

import json
import struct
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.prediction import Label, Prediction, ShadowAnswer

_HEAD = struct.Struct("<I")  # bytes of the JSON head
_FORMAT = 1


def encode_prediction(prediction: Prediction) -> bytes:
    """The prediction as bytes; floats keep 32 bits."""
    embedding = prediction.embedding if prediction.embedding is not None else ()
    arrays = [_floats(prediction.probabilities), _floats(embedding), _floats(prediction.statistics)]
    head = {
        "v": _FORMAT,
        "id": prediction.id,
        "at": _microseconds(prediction.at),
        "model_version": prediction.model_version,
        "label": prediction.label,
        "confidence": prediction.confidence,
        "image_sha256": prediction.image_sha256,
        "image_width": prediction.image_width,
        "image_height": prediction.image_height,
        "image_format": prediction.image_format,
        "image_bytes": prediction.image_bytes,
        "image_kept": prediction.image_kept,
        "metadata": dict(prediction.metadata),
        "repeated": prediction.repeated,
        "forward_ms": prediction.forward_ms,
        "sizes": [array.size for array in arrays],
    }
    text = json.dumps(head, separators=(",", ":")).encode()
    return b"".join([_HEAD.pack(len(text)), text, *(array.tobytes() for array in arrays)])


def decode_prediction(data: bytes) -> Prediction:
    """What `encode_prediction` made into bytes."""
    (length,) = _HEAD.unpack_from(data)
    head: dict[str, Any] = json.loads(data[_HEAD.size : _HEAD.size + length])
    floats = np.frombuffer(data, dtype="<f4", offset=_HEAD.size + length)
    probabilities, embedding, statistics = np.split(floats, np.cumsum(head.pop("sizes"))[:-1])
    del head["v"]
    head["at"] = _moment(head["at"])
    return Prediction(
        **head,
        probabilities=tuple(probabilities.tolist()),
        embedding=embedding,
        statistics=tuple(statistics.tolist()),
    )


def encode_label(label: Label) -> bytes:
    """The label as bytes."""
    head = {
        "v": _FORMAT,
        "id": label.id,
        "label": label.label,
        "at": _microseconds(label.at),
        "labelled_by": label.labelled_by,
        "sequence": label.sequence,
    }
    return json.dumps(head, separators=(",", ":")).encode()


def decode_label(data: bytes) -> Label:
    """What `encode_label` made into bytes."""
    head: dict[str, Any] = json.loads(data)
    del head["v"]
    head["at"] = _moment(head["at"])
    return Label(**head)


def encode_shadow(answer: ShadowAnswer) -> bytes:
    """What a shadow answered, as bytes."""
    head = {"v": _FORMAT, **vars(answer), "at": _microseconds(answer.at), "metadata": dict(answer.metadata)}
    return json.dumps(head, separators=(",", ":")).encode()


def decode_shadow(data: bytes) -> ShadowAnswer:
    """What `encode_shadow` made into bytes."""
    head: dict[str, Any] = json.loads(data)
    del head["v"]
    head["at"] = _moment(head["at"])
    return ShadowAnswer(**head)


def _floats(values: Any) -> NDArray[np.float32]:
    return np.asarray(values, dtype="<f4")


def _microseconds(at: datetime) -> int:
    # Whole numbers: a float of seconds has no room for today's microseconds.
    return int(at.timestamp()) * 1_000_000 + at.microsecond


def _moment(microseconds: int) -> datetime:
    return datetime.fromtimestamp(microseconds // 1_000_000, UTC).replace(microsecond=microseconds % 1_000_000)
