"""The description of asking for a retrain."""

from typing import Any

from service.openapi_parts import TEXT, content, guarded, record, ref
from service.retraining import MOST_REASON

TAG = {"name": "retrain", "description": "Ask for a retrain from outside. A token of the role admin is wanted."}
_MOMENT = {"type": "string", "format": "date-time"}
_EXAMPLE = (
    "curl http://localhost:3000/v1/retrain -H 'Content-Type: application/json' \\\n  "
    '-d \'{"reason": "a new camera hangs in the yard"}\''
)

SCHEMAS: dict[str, Any] = {
    "RetrainWish": record(
        {"reason": {"type": "string", "minLength": 1, "maxLength": MOST_REASON, "description": "printable"}},
        closed=True,
    ),
    "RetrainAsked": record({"request": {"type": "string", "description": "id of the request"}}),
    "RetrainRequest": record(
        {
            "request": TEXT,
            "state": {"enum": ["waiting", "accepted", "declined"]},
            "reason": TEXT,
            "words": {"type": "string", "description": "why it was answered so, and until when it would be again"},
            "job": {"type": ["string", "null"], "description": "id of the job that does it; requests may share one"},
            "asked_at": _MOMENT,
            "decided_at": {"anyOf": [_MOMENT, {"type": "null"}]},
        }
    ),
}


def paths() -> dict[str, Any]:
    """The addresses, each with its operation."""
    return {"/v1/retrain": {"post": _ask()}, "/v1/retrain/{request}": {"get": _find()}}


def _ask() -> dict[str, Any]:
    operation = {
        "tags": ["retrain"],
        "operationId": "request_retrain",
        "summary": "Ask for a retrain",
        "description": "The watcher's next look answers. What holds a retrain back holds this one back too, except for "
        "quiet hours and a candidate that waits for labels, which the new one replaces; the same wish from several is "
        "one job.",
        "x-example": _EXAMPLE,
        "requestBody": {"required": True, "content": {"application/json": {"schema": ref("RetrainWish")}}},
    }
    answer = content("Written down", ref("RetrainAsked"), headers=("Location",))
    return guarded(operation, {"202": answer}, 400, 408, 413, 415)


def _find() -> dict[str, Any]:
    operation = {
        "tags": ["retrain"],
        "operationId": "retrain_request",
        "summary": "How a request for a retrain stands",
        "parameters": [
            {"name": "request", "in": "path", "required": True, "description": "Its id", "schema": {"type": "string"}}
        ],
    }
    return guarded(operation, {"200": content("The request", ref("RetrainRequest"))}, 404)
