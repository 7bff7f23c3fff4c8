"""The service's description of itself: an OpenAPI document kept by hand, and held against what it really answers."""

from typing import Any

from service import openapi_protocol, openapi_retraining
from service.openapi_parts import (
    BYTES,
    COUNT,
    HEADERS,
    REQUEST_ID,
    SHARE,
    TEXT,
    array,
    content,
    guarded,
    record,
    ref,
    unguarded,
)

PREDICT_EXAMPLE = (
    "curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' 'http://localhost:3000/v1/predict?camera=A'"
)
_FEEDBACK_EXAMPLE = (
    "curl http://localhost:3000/v1/feedback -H 'Content-Type: application/json' \\\n  "
    '-d \'{"id": "<the id of an answer>", "label": "cat", "labelled_by": "ada"}\''
)


def document(name: str) -> dict[str, Any]:
    """The OpenAPI 3.1 document of a service for the model `name`."""
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"Kedge: {name}",
            "version": "1",
            "description": "Classifies images. Every answer names the version that gave it.",
        },
        "security": [{}, {"bearer": []}],
        "tags": [
            {"name": "classify", "description": "Images in, labels out; labels back in."},
            {"name": "state", "description": "For those who run it. No token is asked for."},
            openapi_retraining.TAG,
            openapi_protocol.TAG,
        ],
        "paths": {**_paths(), **openapi_retraining.paths(), **openapi_protocol.paths(name)},
        "components": {
            "schemas": {**_SCHEMAS, **openapi_retraining.SCHEMAS, **openapi_protocol.SCHEMAS},
            "headers": HEADERS,
            "parameters": {"X-Request-ID": REQUEST_ID},
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "Of the role predict, feedback or admin; `kedge token create` makes one. "
                    "Before the first was made, this machine needs none.",
                }
            },
        },
    }


def _paths() -> dict[str, Any]:
    return {
        "/v1/predict": {"post": _predict()},
        "/v1/feedback": {"post": _feedback()},
        "/v1/model": {"get": _model()},
        "/livez": {"get": _state("Whether the process lives", content("It does", ref("State")))},
        "/readyz": {"get": _state("Whether it should be sent requests", content("It should", ref("State")), 503)},
        "/metrics": {"get": _state("Counters for Prometheus", content("In its text format", TEXT, "text/plain"))},
        "/openapi.json": {
            "get": _state("This document", content("OpenAPI 3.1", {"type": "object"}), 503),
        },
        "/docs": {"get": _state("This document as a page", content("A page", TEXT, "text/html"), 503)},
        "/": {"get": _state("Where to go from here", content("A page", TEXT, "text/html"), 503)},
    }


def _predict() -> dict[str, Any]:
    form = record(
        {"image": array(BYTES, minItems=1, maxItems=256)},
        {
            "metadata": {
                "type": "string",
                "contentMediaType": "application/json",
                "description": "JSON: a flat object for all images, or a list with one each",
            },
            "id": array({"type": "string", "minLength": 1, "maxLength": 128}),
        },
        closed=True,
    )
    operation = {
        "tags": ["classify"],
        "operationId": "predict",
        "summary": "Classify an image, or several in a form",
        "description": "The body is the image, or a form of one or more parts `image`. Metadata stand in the address, "
        "in a form in its part `metadata`. An id that was answered before is answered anew. In a form with several "
        "images each has an answer or an error of its own.",
        "x-example": PREDICT_EXAMPLE,
        "parameters": [
            {
                "name": "id",
                "in": "query",
                "description": "Of the prediction, printable; made by the service where there is none",
                "schema": {"type": "string", "minLength": 1, "maxLength": 128},
            },
            {
                "name": "metadata",
                "in": "query",
                "style": "form",
                "explode": True,
                "description": "Every other parameter: where the image comes from, as in camera=A",
                "schema": {
                    "type": "object",
                    "maxProperties": 32,
                    "propertyNames": {"minLength": 1, "maxLength": 64},
                    "additionalProperties": {"type": "string", "maxLength": 256},
                },
            },
        ],
        "requestBody": {
            "required": True,
            "content": {
                "image/*": {"schema": BYTES},
                "application/octet-stream": {"schema": BYTES},
                "multipart/form-data": {"schema": form},
            },
        },
    }
    answer = content("One answer, or for a form with several images a list", {"anyOf": [ref("Answer"), ref("Answers")]})
    return guarded(operation, {"200": answer}, 400, 408, 413, 415, 422)


def _feedback() -> dict[str, Any]:
    one = ref("Label")
    operation = {
        "tags": ["classify"],
        "operationId": "feedback",
        "summary": "Say what answers should have been",
        "description": "On the disk before the answer. The last label of an id counts. Ids need not be known yet.",
        "x-example": _FEEDBACK_EXAMPLE,
        "requestBody": {
            "required": True,
            "content": {"application/json": {"schema": {"anyOf": [one, array(one, minItems=1, maxItems=10_000)]}}},
        },
    }
    answers = {
        "200": content("Kept", ref("Kept")),
        "202": content("Kept; some name a class that the model does not have yet", ref("Kept")),
    }
    return guarded(operation, answers, 400, 408, 413, 415)


def _model() -> dict[str, Any]:
    operation = {"tags": ["classify"], "operationId": "model", "summary": "Which model answers, and what is tried"}
    return guarded(operation, {"200": content("The champion, its classes and its input", ref("Model"))})


def _state(summary: str, answer: dict[str, Any], *statuses: int) -> dict[str, Any]:
    return unguarded({"tags": ["state"], "summary": summary}, {"200": answer}, *statuses)


_ERROR = record({"code": {"type": "string", "description": "stable, for programs"}, "message": TEXT})
_TRIAL = {"anyOf": [ref("Trial"), {"type": "null"}]}
_SCHEMAS: dict[str, Any] = {
    "Answer": record(
        {
            "id": {"type": "string", "description": "of the prediction; feedback names it"},
            "model": {"type": "string", "description": "name:version of the model that answered"},
            "label": TEXT,
            "confidence": SHARE,
            "probabilities": {"type": "object", "additionalProperties": SHARE, "description": "by class, summing to 1"},
        }
    ),
    "Answers": record({"predictions": array({"anyOf": [ref("Answer"), ref("ImageError")]})}),
    "ImageError": record({"id": TEXT, "error": _ERROR}),
    "Label": record(
        {
            "id": {"type": "string", "minLength": 1, "maxLength": 128, "description": "of the prediction, printable"},
            "label": {"type": "string", "minLength": 1, "maxLength": 128, "description": "printable"},
        },
        {"labelled_by": {"type": ["string", "null"], "maxLength": 128, "description": "printable"}},
        closed=True,
    ),
    "Kept": record({"kept": COUNT, "notes": array(record({"id": TEXT, "code": TEXT, "message": TEXT}))}),
    "Model": record(
        {
            "model": {"type": "string", "description": "name:version"},
            "name": TEXT,
            "version": COUNT,
            "classes": array(TEXT),
            "input": {"type": "object", "description": "what is done to an image before the network sees it"},
            "since": {"type": "string", "format": "date-time"},
            "error": {"type": ["string", "null"], "description": "why a newer champion was refused"},
            "canary": {**_TRIAL, "description": "answers a share of the images"},
            "shadow": {**_TRIAL, "description": "answers a share of them too, to nobody"},
            "trial_error": {"type": ["string", "null"], "description": "why a canary or shadow was refused"},
        }
    ),
    "Trial": record(
        {"model": TEXT, "version": COUNT, "share": SHARE, "since": {"type": "string", "format": "date-time"}}
    ),
    "State": record({"status": TEXT}, {"model": TEXT}),
    "Error": record({"error": _ERROR}),
}
