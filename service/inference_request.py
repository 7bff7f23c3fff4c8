"""From a request of the Open Inference Protocol to images: tensors as JSON, or as bytes after it."""

import base64
import binascii
import json
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from service.errors import Refusal
from service.questions import read_metadata

IMAGE = "image"
OUTPUTS = ("label", "confidence", "probabilities", "id", "version")
CODE = "bad_inference_request"

_MOST_IMAGES = 256
_BASE64 = "base64"
# Of the protocol and its extensions; they say how to answer, nothing about the images. Everything else is metadata.
_NOT_METADATA = frozenset(
    {"binary_data_output", "content_type", "priority", "timeout", "sequence_id", "sequence_start", "sequence_end"}
)
_LENGTH = struct.Struct("<I")


@dataclass(frozen=True)
class Wanted:
    """An output to send; `binary` sends its values as bytes after the JSON."""

    name: str
    binary: bool


@dataclass(frozen=True)
class InferenceRequest:
    """
    What one request asks.

    Attributes:
        id: of the request, which is sent back; predictions have ids of their own. None where there was none.
        images: as encoded files, one or more.
        metadata: flat, for all its images.
    """

    id: str | None
    images: Sequence[bytes]
    metadata: Mapping[str, str]
    outputs: Sequence[Wanted]


def read_inference(body: bytes, json_bytes: int | None) -> InferenceRequest:
    """
    Read a request's body.

    Args:
        body: all of it.
        json_bytes: length of the JSON where bytes of tensors follow it; 0 where the whole body is one image; None
            where all of it is JSON.

    Raises:
        Refusal: 400, naming what cannot be used.
    """
    if json_bytes == 0:
        return InferenceRequest(None, _counted([body] if body else []), {}, [Wanted(name, False) for name in OUTPUTS])
    if json_bytes is not None and json_bytes > len(body):
        raise _unusable(f"Inference-Header-Content-Length is {json_bytes}, but the body has {len(body)} bytes")
    request = _object(_parsed(body[:json_bytes]), "the request")
    identifier = request.get("id")
    if not isinstance(identifier, str | None):
        raise _unusable("the request's id should be a text")
    parameters = _parameters(request, "the request")
    tensor = _only_input(request)
    content_type = _parameters(tensor, "the input").get("content_type", parameters.get("content_type"))
    if content_type not in (None, _BASE64):
        raise _unusable(f"content_type should be '{_BASE64}', or be left out; found {_short(content_type)}")
    images = _images(tensor, None if json_bytes is None else body[json_bytes:], content_type)
    metadata = {name: value for name, value in parameters.items() if name not in _NOT_METADATA}
    return InferenceRequest(identifier, images, read_metadata(metadata), _outputs(request, parameters))


def _parsed(text: bytes) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise _unusable(f"the request is not JSON: {error}") from error


def _only_input(request: Mapping[str, Any]) -> Mapping[str, Any]:
    inputs = request.get("inputs")
    if not isinstance(inputs, list) or len(inputs) != 1:
        raise _unusable(f"inputs should be a list with one tensor, '{IMAGE}'")
    tensor = _object(inputs[0], "the input")
    if tensor.get("name") != IMAGE:
        raise _unusable(f"the model has one input, '{IMAGE}'; found {_short(tensor.get('name'))}")
    if tensor.get("datatype") != "BYTES":
        raise _unusable(
            f"the input's datatype should be BYTES, each element an image file; found {_short(tensor.get('datatype'))}"
        )
    return tensor


def _images(tensor: Mapping[str, Any], rest: bytes | None, content_type: str | None) -> Sequence[bytes]:
    size = _parameters(tensor, "the input").get("binary_data_size")
    if size is None:
        if rest:
            raise _unusable(f"{len(rest)} bytes follow the JSON, and no input has a binary_data_size")
        images = [_from_base64(text, place) for place, text in enumerate(_flat(tensor.get("data")))]
    else:
        if rest is None or "data" in tensor:
            raise _unusable(
                "an input with binary_data_size has no 'data': its bytes follow the JSON, "
                "whose length is in the header Inference-Header-Content-Length"
            )
        if size != len(rest) or isinstance(size, bool):
            raise _unusable(f"binary_data_size is {_short(size)}, but {len(rest)} bytes follow the JSON")
        images = list(_elements(rest))
        if content_type == _BASE64:
            images = [_from_base64(data, place) for place, data in enumerate(images)]
    _check_shape(tensor.get("shape"), len(images))
    return _counted(images)


def _elements(rest: bytes) -> Iterator[bytes]:
    """Each element is its length in four bytes, the lowest first, and then its bytes."""
    place = 0
    while place < len(rest):
        start = place + _LENGTH.size
        end = start + (_LENGTH.unpack_from(rest, place)[0] if start <= len(rest) else 0)
        if max(start, end) > len(rest):
            raise _unusable("the bytes after the JSON end within an element; each is its length in 4 bytes, little "
                            "endian, and then its bytes")  # fmt: skip
        yield rest[start:end]
        place = end


def _flat(data: Any) -> list[Any]:
    """The elements, which may also come in lists of one, as the shape [n, 1] has them."""
    if not isinstance(data, list):
        raise _unusable(f"the input's data should be a list of images as base64 texts; found {_short(data)}")
    return [item[0] if isinstance(item, list) and len(item) == 1 else item for item in data]


def _from_base64(text: Any, place: int) -> bytes:
    if not isinstance(text, str | bytes):
        raise _unusable(f"image {place} should be a base64 text; found {_short(text)}")
    try:
        # Line breaks come from the tools that encode files; anything else that is foreign is a mistake.
        packed = text.encode("ascii") if isinstance(text, str) else text
        return base64.b64decode(b"".join(packed.split()), validate=True)
    except (binascii.Error, UnicodeEncodeError) as error:
        raise _unusable(f"image {place} is not base64, as bytes in JSON have to be: {error}") from error


def _check_shape(shape: Any, images: int) -> None:
    if shape not in ([images], [images, 1]):
        raise _unusable(f"the input has {images} elements, so its shape should be [{images}]; found {_short(shape)}")


def _counted(images: list[bytes]) -> list[bytes]:
    if not images:
        raise Refusal(400, "no_image", "the request has no image")
    if len(images) > _MOST_IMAGES:
        raise _unusable(f"the request has {len(images)} images; send at most {_MOST_IMAGES} at once")
    return images


def _outputs(request: Mapping[str, Any], parameters: Mapping[str, Any]) -> list[Wanted]:
    binary = _flag(parameters, "binary_data_output", default=False)
    asked = request.get("outputs", [])
    if not isinstance(asked, list):
        raise _unusable(f"outputs should be a list; found {_short(asked)}")
    wanted = [_wanted(_object(output, "an output"), binary=binary) for output in asked]
    if len({output.name for output in wanted}) < len(wanted):
        raise _unusable("an output is asked for twice")
    return wanted or [Wanted(name, binary) for name in OUTPUTS]


def _wanted(output: Mapping[str, Any], *, binary: bool) -> Wanted:
    name = output.get("name")
    if name not in OUTPUTS:
        raise _unusable(f"the model has no output {_short(name)}; it has {', '.join(OUTPUTS)}")
    parameters = _parameters(output, f"the output '{name}'")
    for extension in ("classification", "shared_memory_region"):
        if extension in parameters:
            raise _unusable(f"the extension '{extension}' is not offered; ask for the outputs as they are")
    return Wanted(name, _flag(parameters, "binary_data", default=binary))


def _flag(parameters: Mapping[str, Any], name: str, *, default: bool) -> bool:
    value = parameters.get(name, default)
    if not isinstance(value, bool):
        raise _unusable(f"{name} should be true or false; found {_short(value)}")
    return value


def _parameters(of: Mapping[str, Any], what: str) -> Mapping[str, Any]:
    found = of.get("parameters")
    return {} if found is None else _object(found, f"'parameters' of {what}")


def _object(value: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise _unusable(f"{what} should be a JSON object; found {_short(value)}")
    return value


def _unusable(message: str) -> Refusal:
    return Refusal(400, CODE, message)


def _short(value: Any) -> str:
    text = json.dumps(value)
    return text if len(text) <= 60 else f"{text[:60]}…"  # noqa: PLR2004 - enough to recognise it
