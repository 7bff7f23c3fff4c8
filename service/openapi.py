"""The service's description of itself: an OpenAPI document kept by hand, and two pages that load nothing else."""

import json
from html import escape
from typing import Any

_STYLE = """
body{font:16px/1.5 system-ui,sans-serif;max-width:56rem;margin:2rem auto;padding:0 1rem;color:#1b2733;background:#fff}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin:2rem 0 .25rem;font-family:ui-monospace,monospace}
code,pre{font:14px/1.45 ui-monospace,monospace;background:#f2f5f8;border-radius:4px;padding:.1rem .3rem}
pre{padding:.75rem;overflow:auto}table{border-collapse:collapse;width:100%}
td,th{text-align:left;vertical-align:top;padding:.3rem .6rem;border-bottom:1px solid #dde4ea}
b{display:inline-block;min-width:3.2rem}
@media(prefers-color-scheme:dark){body{color:#d8e0e8;background:#12181f}code,pre{background:#1d2630}
td,th{border-color:#2b3743}a{color:#7db7ff}}
"""
_PREDICT_EXAMPLE = (
    "curl --data-binary @photo.jpg -H 'Content-Type: image/jpeg' 'http://localhost:3000/v1/predict?camera=A'"
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
        "paths": {
            "/v1/predict": {"post": _predict()},
            "/v1/feedback": {"post": _feedback()},
            "/v1/model": {"get": _get("The champion, its classes and its input", _ref("Model"), 401, 503)},
            "/livez": {"get": _get("200 while the process lives", _ref("State"))},
            "/readyz": {"get": _get("200 once a model is loaded", _ref("State"), 503)},
            "/metrics": {"get": _get_text("Counters in the text format of Prometheus", "text/plain")},
            "/openapi.json": {"get": _get("This document", {"type": "object"})},
            "/docs": {"get": _get_text("This document as a page", "text/html")},
            "/": {"get": _get_text("Where to go from here", "text/html")},
        },
        "components": {
            "schemas": _SCHEMAS,
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
        },
    }


def docs_page(described: dict[str, Any]) -> str:
    """The document as one page of plain HTML."""
    sections = [
        _operation(path, method, operation)
        for path, methods in described["paths"].items()
        for method, operation in methods.items()
    ]
    info = described["info"]
    schemas = escape(json.dumps(described["components"]["schemas"], indent=2))
    return _page(
        info["title"],
        f"<p>{escape(info['description'])} The same as a document: <a href='/openapi.json'>/openapi.json</a>.</p>"
        f"<pre>{escape(_PREDICT_EXAMPLE)}</pre>{''.join(sections)}<h2>Schemas</h2><pre>{schemas}</pre>",
    )


def index_page(name: str) -> str:
    """The page at the root."""
    links = {
        "/docs": "what can be asked, with examples",
        "/v1/model": "which model answers",
        "/readyz": "whether it answers",
        "/metrics": "counters for Prometheus",
        "/openapi.json": "the interface for programs",
    }
    rows = "".join(
        f"<tr><td><a href='{path}'>{path}</a></td><td>{escape(words)}</td></tr>" for path, words in links.items()
    )
    return _page(
        f"Kedge: {name}",
        f"<p>This address classifies images.</p><table>{rows}</table><pre>{escape(_PREDICT_EXAMPLE)}</pre>",
    )


def _predict() -> dict[str, Any]:
    form = {
        "type": "object",
        "required": ["image"],
        "properties": {
            "image": {"type": "array", "items": {"type": "string", "format": "binary"}, "minItems": 1},
            "metadata": {
                "type": "string",
                "description": "JSON: a flat object for all images, or a list with one each",
            },
            "id": {"type": "array", "items": {"type": "string"}, "description": "one for each image, or none"},
        },
        "additionalProperties": False,
    }
    return {
        "summary": "Classify one image, or several in a form",
        "description": "Every query parameter but `id` is metadata. An id that was answered before is answered anew.",
        "parameters": [
            {"name": "id", "in": "query", "schema": {"type": "string", "minLength": 1, "maxLength": 128}},
            {
                "name": "metadata",
                "in": "query",
                "style": "form",
                "explode": True,
                "schema": {"type": "object", "additionalProperties": {"type": "string", "maxLength": 256}},
            },
        ],
        "requestBody": {
            "required": True,
            "content": {
                "image/*": {"schema": {"type": "string", "format": "binary"}},
                "application/octet-stream": {"schema": {"type": "string", "format": "binary"}},
                "multipart/form-data": {"schema": form},
            },
        },
        "responses": {
            "200": _content("The answer", {"oneOf": [_ref("Answer"), _ref("Answers")]}),
            **_errors(400, 401, 413, 415, 422, 429, 503),
        },
    }


def _feedback() -> dict[str, Any]:
    one = _ref("Label")
    return {
        "summary": "Say what answers should have been",
        "description": "On the disk before the answer. The last label of an id counts. Ids need not be known yet.",
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": {"oneOf": [one, {"type": "array", "items": one, "minItems": 1}]}}
            },
        },
        "responses": {
            "200": _content("Kept", _ref("Kept")),
            "202": _content("Kept; some name a class that the model does not have yet", _ref("Kept")),
            **_errors(400, 401, 413, 415, 503),
        },
    }


def _get(summary: str, schema: dict[str, Any], *errors: int) -> dict[str, Any]:
    return {"summary": summary, "responses": {"200": _content(summary, schema), **_errors(*errors)}}


def _get_text(summary: str, kind: str) -> dict[str, Any]:
    return {"summary": summary, "responses": {"200": {"description": summary, "content": {kind: {}}}}}


def _content(description: str, schema: dict[str, Any]) -> dict[str, Any]:
    return {"description": description, "content": {"application/json": {"schema": schema}}}


_MEANINGS = {
    400: "The request cannot be used: no_image, bad_metadata, bad_id, bad_form, bad_feedback",
    401: "A token is wanted: token_required, wrong_token",
    413: "Too large: body_too_large, too_many_bytes, too_many_pixels",
    415: "Not a type that is taken: unsupported_media_type, unsupported_format",
    422: "The image cannot be read: not_an_image, truncated_image",
    429: "Too many images are waiting: queue_full; come back after Retry-After seconds",
    503: "Not now: no_model, log_full, deadline_exceeded; come back after Retry-After seconds",
}


def _errors(*statuses: int) -> dict[str, Any]:
    return {str(status): _content(_MEANINGS[status], _ref("Error")) for status in statuses}


def _ref(name: str) -> dict[str, Any]:
    return {"$ref": f"#/components/schemas/{name}"}


def _record(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"type": "object", "required": list(required), "properties": {**required, **(optional or {})}}


_TEXT = {"type": "string"}
_SHARE = {"type": "number", "minimum": 0, "maximum": 1}
_ERROR = _record({"error": _record({"code": _TEXT, "message": _TEXT})})
_ANSWER = _record(
    {
        "id": _TEXT,
        "model": {"type": "string", "description": "name:version of the model that answered"},
        "label": _TEXT,
        "confidence": _SHARE,
        "probabilities": {"type": "object", "additionalProperties": _SHARE, "description": "by class, summing to 1"},
    }
)
_SCHEMAS: dict[str, Any] = {
    "Answer": _ANSWER,
    "Answers": _record(
        {
            "predictions": {
                "type": "array",
                "items": {"oneOf": [_ref("Answer"), _record({"id": _TEXT, "error": _ERROR["properties"]["error"]})]},
            }
        }
    ),
    "Label": {
        **_record({"id": _TEXT, "label": _TEXT}, {"labelled_by": _TEXT}),
        "additionalProperties": False,
    },
    "Kept": _record(
        {
            "kept": {"type": "integer"},
            "notes": {"type": "array", "items": _record({"id": _TEXT, "code": _TEXT, "message": _TEXT})},
        }
    ),
    "Model": _record(
        {
            "model": _TEXT,
            "name": _TEXT,
            "version": {"type": "integer"},
            "classes": {"type": "array", "items": _TEXT},
            "input": {"type": "object"},
            "since": {"type": "string", "format": "date-time"},
            "error": {"type": ["string", "null"], "description": "why a newer champion was refused"},
            "canary": {"type": ["string", "null"]},
            "shadow": {"type": ["string", "null"]},
        }
    ),
    "State": _record({"status": _TEXT}, {"model": _TEXT}),
    "Error": _ERROR,
}


def _operation(path: str, method: str, operation: dict[str, Any]) -> str:
    rows = "".join(
        f"<tr><td>{status}</td><td>{escape(response['description'])}</td></tr>"
        for status, response in operation["responses"].items()
    )
    bodies = ", ".join(f"<code>{escape(kind)}</code>" for kind in operation.get("requestBody", {}).get("content", {}))
    return (
        f"<h2><b>{method.upper()}</b> {escape(path)}</h2>"
        f"<p>{escape(operation['summary'])}. {escape(operation.get('description', ''))}</p>"
        + (f"<p>Body: {bodies}</p>" if bodies else "")
        + f"<table>{rows}</table>"
    )


def _page(title: str, body: str) -> str:
    return (
        "<!doctype html><html lang='en'><meta charset='utf-8'><meta name='viewport' content='width=device-width'>"
        f"<title>{escape(title)}</title><style>{_STYLE}</style><h1>{escape(title)}</h1>{body}</html>"
    )
