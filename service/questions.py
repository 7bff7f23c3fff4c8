"""From an HTTP request to questions: one raw image, or a form with several."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from starlette.datastructures import FormData, UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from infra.clock import new_id
from infra.settings_sections import ServeSettings
from models.images import ImageRefused, pixels_of
from service.access import limited_body
from service.classifier import Question
from service.errors import Refusal

_MOST_IMAGES = 256
_LARGE_IMAGES = 4
_MOST_FIELDS = 32
_MOST_NAME, _MOST_VALUE, _MOST_ID = 64, 256, 128
_RAW_TYPES = ("application/octet-stream", "")


@dataclass(frozen=True)
class Asked:
    """The images of one request; `many` says whether the answer is a list."""

    questions: Sequence[Question]
    many: bool


async def read_questions(request: Request, serve: ServeSettings) -> Asked:
    """
    Read the images, their metadata and their ids.

    Raises:
        Refusal: 400 for metadata, ids or a form that cannot be used, 413 for too large a body,
            415 for a body that is neither an image nor a form.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    most_bytes = int(serve.most_body_mb * 1_000_000)
    if kind == "multipart/form-data":
        return await _form(request, serve, most_bytes)
    if not kind.startswith("image/") and kind not in _RAW_TYPES:
        raise Refusal(
            415, "unsupported_media_type", f"the body is '{kind}'; send an image as image/*, or multipart/form-data"
        )
    fields = _query(request)
    identifiers = [fields.pop("id")] if "id" in fields else []
    # Words are checked before the body is read: a mistake in the address should not cost an upload.
    metadata, identifiers = read_metadata(fields), [_identifier(text) for text in identifiers]
    chunks = [chunk async for chunk in limited_body(request, most_bytes)]
    data = chunks[0] if len(chunks) == 1 else b"".join(chunks)
    if not data:
        raise Refusal(400, "no_image", "the body is empty; send the image's bytes")
    return Asked([_question(data, metadata, identifiers[0] if identifiers else None)], many=False)


def read_metadata(fields: Any) -> Mapping[str, str]:
    """
    A flat object of names and values as texts.

    Raises:
        Refusal: 400, naming the first field that is not flat, or too long, or one too many.
    """
    if not isinstance(fields, dict):
        raise Refusal(400, "bad_metadata", f"metadata should be a flat object; found {type(fields).__name__}")
    if len(fields) > _MOST_FIELDS:
        raise Refusal(400, "bad_metadata", f"metadata has {len(fields)} fields; at most {_MOST_FIELDS} are kept")
    return dict(_field(name, value) for name, value in fields.items())


async def refused_together(images: Sequence[bytes], serve: ServeSettings) -> Mapping[int, ImageRefused]:
    """
    The places of images that are each small enough, and together would keep everybody else waiting.

    One request may have four times the pixels that one image may have. The smallest are taken first, so that a header
    that boasts costs no neighbour its answer.
    """
    if len(images) <= _LARGE_IMAGES:
        return {}
    most_of_one = serve.most_megapixels * 1_000_000
    # A header may be long: whoever waits for something else must not wait for this.
    pixels = await asyncio.to_thread(lambda: [pixels_of(data) for data in images])
    left = _LARGE_IMAGES * most_of_one
    words = f"with the smaller ones of its request it has more than {left / 1_000_000:,.4g} megapixels; send it alone"
    refused: dict[int, ImageRefused] = {}
    for place in sorted(range(len(images)), key=pixels.__getitem__):
        if pixels[place] > most_of_one:
            continue  # refused by itself, before it is decoded
        left -= pixels[place]
        if left < 0:
            refused[place] = ImageRefused("too_many_pixels", words)
    return refused


async def _form(request: Request, serve: ServeSettings, most_bytes: int) -> Asked:
    parser = MultiPartParser(
        request.headers, limited_body(request, most_bytes), max_files=_MOST_IMAGES, max_fields=_MOST_IMAGES + 8
    )
    # Never through a file: the body is limited, its images are wanted in memory, and a disk may be full.
    parser.spool_max_size = most_bytes
    try:
        form = await parser.parse()
    except MultiPartException as error:
        raise Refusal(400, "bad_form", error.message) from error
    except (KeyError, UnicodeDecodeError, ValueError) as error:
        raise Refusal(400, "bad_form", "the form cannot be read; is the boundary in its Content-Type?") from error
    try:
        return await _asked(form, request, serve)
    finally:
        await form.close()


async def _asked(form: FormData, request: Request, serve: ServeSettings) -> Asked:
    unknown = sorted(set(form) - {"image", "metadata", "id"})
    if unknown:
        raise Refusal(400, "bad_form", f"the form has a part '{unknown[0]}'; expected image, metadata and id")
    if request.query_params:
        raise Refusal(400, "bad_form", "with a form, metadata and id are parts of the form, not of the address")
    images = [await _bytes_of(part) for part in form.getlist("image")]
    if not images:
        raise Refusal(400, "no_image", "the form has no part named 'image'")
    identifiers = [_identifier(await _text_of(part)) for part in form.getlist("id")]
    if identifiers and len(identifiers) != len(images):
        raise Refusal(400, "bad_id", f"{len(images)} images came with {len(identifiers)} ids; give one each, or none")
    metadata = _metadata_of_all([await _text_of(part) for part in form.getlist("metadata")], len(images))
    chosen: Sequence[str | None] = identifiers or [None] * len(images)
    questions = [_question(*parts) for parts in zip(images, metadata, chosen, strict=True)]
    for place, refusal in (await refused_together(images, serve)).items():
        questions[place] = replace(questions[place], refusal=refusal)
    return Asked(questions, many=len(images) > 1)


def _metadata_of_all(texts: Sequence[str], images: int) -> list[Mapping[str, str]]:
    """One object for all images, or a list with one for each."""
    if len(texts) > 1:
        raise Refusal(400, "bad_metadata", "the form has several parts 'metadata'; expected one")
    try:
        value = json.loads(texts[0]) if texts else {}
    except (ValueError, RecursionError) as error:
        raise Refusal(400, "bad_metadata", f"metadata is not JSON: {error}") from error
    if not isinstance(value, list):
        return [read_metadata(value)] * images
    if len(value) != images:
        raise Refusal(400, "bad_metadata", f"{images} images came with {len(value)} metadata objects")
    return [read_metadata(item) for item in value]


def _query(request: Request) -> dict[str, str]:
    fields: dict[str, str] = {}
    if not request.scope["query_string"]:
        return fields
    for name, value in request.query_params.multi_items():
        if name in fields:
            raise Refusal(400, "bad_metadata", f"'{name}' is given twice")
        fields[name] = value
    return fields


def _field(name: str, value: Any) -> tuple[str, str]:
    if isinstance(value, bool):
        value = "true" if value else "false"
    if not isinstance(value, str | int | float):
        raise Refusal(400, "bad_metadata", f"metadata '{name[:_MOST_NAME]}' should be a text or a number")
    text = str(value)
    if not name or len(name) > _MOST_NAME or len(text) > _MOST_VALUE:
        limits = f"names up to {_MOST_NAME}, values up to {_MOST_VALUE} characters"
        raise Refusal(400, "bad_metadata", f"metadata '{name[:_MOST_NAME]}' is empty or too long: {limits}")
    return _storable(name, "bad_metadata"), _storable(text, "bad_metadata")


def _identifier(text: str) -> str:
    if not 0 < len(text) <= _MOST_ID or not text.isprintable():
        raise Refusal(400, "bad_id", f"an id is 1 to {_MOST_ID} printable characters")
    return _storable(text, "bad_id")


def _storable(text: str, code: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:  # half a surrogate pair, which JSON can spell and UTF-8 cannot
        raise Refusal(400, code, "the text is not valid Unicode") from error
    return text


async def _bytes_of(part: UploadFile | str) -> bytes:
    return part.encode() if isinstance(part, str) else await part.read()


async def _text_of(part: UploadFile | str) -> str:
    if isinstance(part, str):
        return part
    try:
        return (await part.read()).decode()
    except UnicodeDecodeError as error:
        raise Refusal(400, "bad_form", f"the part '{part.filename}' should be text") from error


def _question(data: bytes, metadata: Mapping[str, str], identifier: str | None) -> Question:
    return Question(identifier or new_id(), data, metadata, own_id=identifier is not None)
