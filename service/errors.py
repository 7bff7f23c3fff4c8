"""Refusals with stable codes, and the one shape in which they are told."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from starlette.requests import ClientDisconnect
from starlette.responses import Response

from models.images import ImageRefused
from service.batcher import QueueFull
from service.classifier import LogFull, NoModel, VersionGone
from service.spool import SpoolFull

STATUS_OF_IMAGE = {
    "not_an_image": 422,
    "truncated_image": 422,
    "unsupported_format": 415,
    "too_many_pixels": 413,
    "too_many_bytes": 413,
}


@dataclass
class Refusal(Exception):
    """
    A request that gets no answer.

    Attributes:
        code: stable, for programs.
        message: one sentence for a person.
        retry_after_s: whole seconds after which coming back helps; told with 429 and 503.
    """

    status: int
    code: str
    message: str
    retry_after_s: int = 1

    def to_json(self) -> dict[str, Any]:
        return {"error": {"code": self.code, "message": self.message}}


def refusal_of(error: BaseException) -> Refusal | None:
    """How a failure inside is told to the caller; None where it is a fault of ours."""
    match error:
        case Refusal():
            return error
        case ImageRefused():
            return Refusal(STATUS_OF_IMAGE.get(error.code, 422), error.code, error.message)
        case QueueFull():
            words = f"too many images are waiting; come back in {error.retry_after_s} s"
            return Refusal(429, "queue_full", words, error.retry_after_s)
        case VersionGone():
            return Refusal(503, "version_changed", "the version asked for stopped answering while this request waited")
        case NoModel():
            return Refusal(
                503, "no_model", "no model answers yet; `kedge train` makes the first, GET /v1/model says more"
            )
        case ClientDisconnect():
            return Refusal(400, "upload_broken_off", "the caller hung up before the whole body had come")
        case LogFull() | SpoolFull():
            return Refusal(503, "log_full", "the disk has no room to log predictions; nothing is answered until it has")
        case TimeoutError():
            return Refusal(503, "deadline_exceeded", "the request took too long; send it again")
    return None


def error_response(refusal: Refusal, headers: Mapping[str, str] | None = None) -> Response:
    """The refusal as a response, with Retry-After where coming back helps."""
    all_headers = dict(headers or {})
    if refusal.status in (429, 503):
        all_headers.setdefault("Retry-After", str(refusal.retry_after_s))
    if refusal.status in (HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.REQUEST_TIMEOUT):
        # The rest of the body was not read and will not be.
        all_headers.setdefault("Connection", "close")
    # In ASCII: a message may name half a surrogate pair, which JSON can spell and UTF-8 cannot.
    text = json.dumps(refusal.to_json(), separators=(",", ":"))
    return Response(text, refusal.status, all_headers, "application/json")
