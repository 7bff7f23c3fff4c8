"""Answers as tensors of the Open Inference Protocol, and what the model's tensors are."""

import json
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from service.classifier import Answer
from service.inference_request import IMAGE, InferenceRequest

JSON_BYTES = "Inference-Header-Content-Length"
_DIGITS = 6


@dataclass(frozen=True)
class Tensor:
    """
    One output.

    Attributes:
        shape: its product is the number of values.
        values: row by row.
    """

    name: str
    datatype: str
    shape: tuple[int, ...]
    values: Sequence[str] | Sequence[float] | Sequence[int]

    def to_json(self, packed: bytes | None) -> dict[str, Any]:
        """The tensor with its values, or with the number of bytes that hold them."""
        facts = {"name": self.name, "datatype": self.datatype, "shape": list(self.shape)}
        if packed is not None:
            return {**facts, "parameters": {"binary_data_size": len(packed)}}
        return {
            **facts,
            "data": [round(value, _DIGITS) if isinstance(value, float) else value for value in self.values],
        }

    def to_bytes(self) -> bytes:
        """Its values without gaps, the lowest byte first; texts with their length in four bytes before them."""
        if self.datatype == "BYTES":
            texts = [str(value).encode() for value in self.values]
            return b"".join(struct.pack("<I", len(text)) + text for text in texts)
        return struct.pack(f"<{len(self.values)}{'f' if self.datatype == 'FP32' else 'q'}", *self.values)


@dataclass(frozen=True)
class Body:
    """
    What goes out.

    Attributes:
        json_bytes: length of the JSON at its start; None where there is nothing else.
    """

    content: bytes
    json_bytes: int | None


def body_of(request: InferenceRequest, name: str, answers: Sequence[Answer]) -> Body:
    """The answers to one request, of the outputs that it wants and in the form that it wants."""
    tensors = {tensor.name: tensor for tensor in _tensors(answers)}
    versions = {_version(answer) for answer in answers}
    parts = [tensors[wanted.name].to_bytes() if wanted.binary else None for wanted in request.outputs]
    facts: dict[str, Any] = {"model_name": name}
    # While a canary is tried, the images of one request may meet different versions; the output `version` tells which.
    if len(versions) == 1:
        facts["model_version"] = str(versions.pop())
    if request.id is not None:
        facts["id"] = request.id
    facts["outputs"] = [tensors[wanted.name].to_json(part) for wanted, part in zip(request.outputs, parts, strict=True)]
    text = json.dumps(facts, separators=(",", ":")).encode()
    packed = [part for part in parts if part is not None]
    return Body(b"".join([text, *packed]), len(text) if packed else None)


def tensors_of(classes: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """Inputs and outputs of a model, as its metadata describe them; -1 is the number of images."""
    return {
        "inputs": [{"name": IMAGE, "datatype": "BYTES", "shape": [-1], "parameters": {"content_type": "base64"}}],
        "outputs": [
            {"name": "label", "datatype": "BYTES", "shape": [-1]},
            {"name": "confidence", "datatype": "FP32", "shape": [-1]},
            {
                "name": "probabilities",
                "datatype": "FP32",
                "shape": [-1, len(classes)],
                "parameters": {"classes": list(classes)},
            },
            {"name": "id", "datatype": "BYTES", "shape": [-1]},
            {"name": "version", "datatype": "INT64", "shape": [-1]},
        ],
    }


def _tensors(answers: Sequence[Answer]) -> list[Tensor]:
    many = len(answers)
    # A canary may know one class more than the champion: then the champion gave it nothing.
    classes = list(dict.fromkeys(label for answer in answers for label in answer.probabilities))
    probabilities = [answer.probabilities.get(label, 0.0) for answer in answers for label in classes]
    return [
        Tensor("label", "BYTES", (many,), [answer.label for answer in answers]),
        Tensor("confidence", "FP32", (many,), [answer.confidence for answer in answers]),
        Tensor("probabilities", "FP32", (many, len(classes)), probabilities),
        Tensor("id", "BYTES", (many,), [answer.id for answer in answers]),
        Tensor("version", "INT64", (many,), [_version(answer) for answer in answers]),
    ]


def _version(answer: Answer) -> int:
    return int(answer.model.rpartition(":")[2])
