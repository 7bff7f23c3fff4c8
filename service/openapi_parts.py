"""What the interface's description is put together from: records, refusals with their codes, operations."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

TEXT = {"type": "string"}
SHARE = {"type": "number", "minimum": 0, "maximum": 1}
COUNT = {"type": "integer", "minimum": 0}
BYTES = {"type": "string", "format": "binary"}

# Status → what it says, with the codes that come with it.
_REFUSALS = {
    400: (
        "The request cannot be used",
        "no_image, bad_metadata, bad_id, bad_form, bad_feedback, bad_inference_request, bad_retrain_request",
    ),
    401: ("A token is wanted", "token_required, wrong_token"),
    403: ("The token's role does not allow this", "wrong_role"),
    404: ("There is no such thing", "no_such_model, no_such_version, no_such_request"),
    408: ("The body took too long to come", "upload_too_slow"),
    413: ("Too large", "body_too_large, too_many_bytes, too_many_pixels"),
    415: ("Not a type that is taken", "unsupported_media_type, unsupported_encoding, unsupported_format"),
    422: ("The image cannot be read", "not_an_image, truncated_image"),
    429: ("Too much at once; come back after Retry-After seconds", "queue_full, rate_limited"),
    503: (
        "Not now; come back after Retry-After seconds",
        "no_model, log_full, deadline_exceeded, tokens_unknown, stopping, version_changed, database_away",
    ),
}
# Before anything else is looked at.
_AT_THE_DOOR = (401, 403, 429, 503)
_HEADERS_OF = {401: ("WWW-Authenticate",), 403: ("WWW-Authenticate",), 429: ("Retry-After",), 503: ("Retry-After",)}

HEADERS: Mapping[str, Any] = {
    "X-Request-ID": {
        "description": "The request's id: the caller's own, or a new one. The log names it where something failed.",
        "required": True,
        "schema": {"type": "string", "minLength": 1, "maxLength": 128},
    },
    "Retry-After": {"description": "Seconds to wait", "required": True, "schema": {"type": "integer", "minimum": 1}},
    "WWW-Authenticate": {"description": "Bearer", "required": True, "schema": TEXT},
    "Location": {"description": "Where it can be asked how things stand", "required": True, "schema": TEXT},
    "X-Error-Code": {"description": "The refusal's code, for programs", "required": True, "schema": TEXT},
}
REQUEST_ID: Mapping[str, Any] = {
    "name": "X-Request-ID",
    "in": "header",
    "description": "1 to 128 printable ASCII characters; anything else is replaced",
    "schema": TEXT,
}


@dataclass(frozen=True)
class Refusals:
    """
    How one family of addresses refuses.

    Attributes:
        schema: name of the schema of its errors.
        headers: that each of its errors has.
    """

    schema: str
    headers: tuple[str, ...] = ()

    def responses(self, statuses: Sequence[int]) -> dict[str, Any]:
        """The responses with these statuses, in order."""
        return {str(status): self._response(status) for status in sorted(set(statuses))}

    def _response(self, status: int) -> dict[str, Any]:
        meaning, codes = _REFUSALS[status]
        headers = (*self.headers, *_HEADERS_OF.get(status, ()))
        return content(f"{meaning}: {codes}", ref(self.schema), headers=headers)


OURS = Refusals("Error")


def guarded(
    operation: dict[str, Any], answers: dict[str, Any], *statuses: int, refusals: Refusals = OURS
) -> dict[str, Any]:
    """An operation that asks for a token where there is one, refused with these statuses and those of the door."""
    return _operation(operation, {**answers, **refusals.responses([*_AT_THE_DOOR, *statuses])})


def unguarded(
    operation: dict[str, Any], answers: dict[str, Any], *statuses: int, refusals: Refusals = OURS
) -> dict[str, Any]:
    """An operation that anybody may ask."""
    return {**_operation(operation, {**answers, **refusals.responses(statuses)}), "security": []}


def content(
    description: str, schema: dict[str, Any], kind: str = "application/json", *, headers: Sequence[str] = ()
) -> dict[str, Any]:
    """A response with one kind of body."""
    named = {name: {"$ref": f"#/components/headers/{name}"} for name in ("X-Request-ID", *headers)}
    return {"description": description, "headers": named, "content": {kind: {"schema": schema}}}


def ref(name: str) -> dict[str, Any]:
    """A schema of the document."""
    return {"$ref": f"#/components/schemas/{name}"}


def record(required: dict[str, Any], optional: dict[str, Any] | None = None, *, closed: bool = False) -> dict[str, Any]:
    """An object with these fields; `closed` where any other is refused."""
    fields = {"type": "object", "required": list(required), "properties": {**required, **(optional or {})}}
    return {**fields, "additionalProperties": False} if closed else fields


def array(items: dict[str, Any], **limits: int) -> dict[str, Any]:
    """A list, with `minItems` and `maxItems` where it has any."""
    return {"type": "array", "items": items, **limits}


def _operation(operation: dict[str, Any], responses: dict[str, Any]) -> dict[str, Any]:
    own = {name: value for name, value in operation.items() if name != "parameters"}
    header = {"$ref": "#/components/parameters/X-Request-ID"}
    return {**own, "parameters": [*operation.get("parameters", []), header], "responses": responses}
