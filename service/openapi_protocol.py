"""The Open Inference Protocol's addresses in the interface's description."""

from typing import Any

from service.inference_answer import JSON_BYTES
from service.inference_request import OUTPUTS
from service.openapi_parts import BYTES, TEXT, Refusals, array, content, guarded, record, ref, unguarded

TAG = {
    "name": "inference",
    "description": "The Open Inference Protocol (KServe v2), for clients made for it.",
}

_REFUSALS = Refusals("ProtocolError", ("X-Error-Code",))
_EXAMPLE = (
    "curl --data-binary @photo.jpg -H 'Inference-Header-Content-Length: 0' \\\n"
    "  http://localhost:3000/v2/models/<name>/infer"
)
_VERSION = {
    "name": "version",
    "in": "path",
    "required": True,
    "description": "The champion's, or a canary's",
    "schema": TEXT,
}


def paths(name: str) -> dict[str, Any]:
    """Every address of the protocol; those of the model `name` with its version and without."""
    model = {"name": "name", "in": "path", "required": True, "description": "The model's name",
             "schema": {"type": "string", "enum": [name]}}  # fmt: skip
    described: dict[str, Any] = {
        "/v2": {"get": _get("What the server is", "Its name, release and extensions", "Server")},
        "/v2/health/live": {"get": _health("Whether the process lives", "It does", "live")},
        "/v2/health/ready": {"get": _health("Whether it should be sent requests", "It should", "ready", 503)},
    }
    for base, named in (("/v2/models/{name}", [model]), ("/v2/models/{name}/versions/{version}", [model, _VERSION])):
        described |= {
            base: {
                "get": _get("What goes in and what comes out", "The model's tensors and versions", "ServedModel", named)
            },
            f"{base}/ready": {"get": _get("Whether the model answers", "It does", "ModelState", named)},
            f"{base}/infer": {"post": _infer(named)},
        }
    return described


def _get(summary: str, answer: str, schema: str, parameters: list[dict[str, Any]] | None = None) -> dict[str, Any]:
    operation = {"tags": [TAG["name"]], "summary": summary, "parameters": parameters or []}
    statuses = (404,) if parameters else ()
    return guarded(operation, {"200": content(answer, ref(schema))}, *statuses, refusals=_REFUSALS)


def _health(summary: str, answer: str, field: str, *statuses: int) -> dict[str, Any]:
    answers = {"200": content(answer, record({field: {"type": "boolean"}}))}
    return unguarded({"tags": [TAG["name"]], "summary": summary}, answers, *statuses, refusals=_REFUSALS)


def _infer(parameters: list[dict[str, Any]]) -> dict[str, Any]:
    length = {
        "name": JSON_BYTES,
        "in": "header",
        "description": "Length of the JSON where bytes of tensors follow it; 0 where the body is one image",
        "schema": {"type": "integer", "minimum": 0},
    }
    operation = {
        "tags": [TAG["name"]],
        "summary": "Classify images",
        "description": "Images are elements of the input `image`: base64 texts in JSON, or bytes after it (the binary "
        "tensor data extension). Parameters of the request are metadata of its images. One image that cannot be read "
        "refuses the request; the others of it are answered by then, and stay in the log.",
        "x-example": _EXAMPLE,
        "parameters": [*parameters, length],
        "requestBody": {
            "required": True,
            "content": {
                "application/json": {"schema": ref("InferenceRequest")},
                "application/octet-stream": {"schema": BYTES},
            },
        },
    }
    answer = content("The tensors that were asked for, in the form that was asked for", ref("InferenceAnswer"))
    answer["content"]["application/octet-stream"] = {"schema": BYTES}
    answer["headers"][JSON_BYTES] = {
        "description": "Length of the JSON where bytes follow it",
        "schema": {"type": "integer", "minimum": 1},
    }
    return guarded(operation, {"200": answer}, 400, 404, 408, 413, 415, 422, refusals=_REFUSALS)


_PARAMETERS = {"type": "object", "description": "names and values"}
_SHAPE = array({"type": "integer", "minimum": -1})
_DESCRIBED = record({"name": TEXT, "datatype": TEXT, "shape": _SHAPE}, {"parameters": _PARAMETERS})
_IMAGES = record(
    {"name": {"const": "image"}, "datatype": {"const": "BYTES"}, "shape": array({"type": "integer"}, maxItems=2)},
    {
        "data": array({"type": "string", "contentEncoding": "base64"}, minItems=1, maxItems=256),
        "parameters": record(
            {}, {"content_type": {"const": "base64"}, "binary_data_size": {"type": "integer", "minimum": 0}}
        ),
    },
)
_WANTED = record({"name": {"enum": list(OUTPUTS)}}, {"parameters": record({}, {"binary_data": {"type": "boolean"}})})
_OUTPUT = record(
    {"name": {"enum": list(OUTPUTS)}, "datatype": {"enum": ["BYTES", "FP32", "INT64"]}, "shape": _SHAPE},
    {
        "data": array({"type": ["string", "number"]}),
        "parameters": record({"binary_data_size": {"type": "integer", "minimum": 0}}),
    },
)
SCHEMAS: dict[str, Any] = {
    "Server": record({"name": TEXT, "version": TEXT, "extensions": array(TEXT)}),
    "ServedModel": record(
        {
            "name": TEXT,
            "versions": array(TEXT),
            "platform": TEXT,
            "inputs": array(_DESCRIBED),
            "outputs": array(_DESCRIBED),
        }
    ),
    "ModelState": record({"name": TEXT, "ready": {"type": "boolean"}}),
    "InferenceRequest": record(
        {"inputs": array(_IMAGES, minItems=1, maxItems=1)},
        {
            "id": {"type": "string", "description": "of the request; it is sent back"},
            "parameters": {
                "type": "object",
                "description": "metadata of the images, flat; `binary_data_output` sends all tensors as bytes",
                "properties": {"binary_data_output": {"type": "boolean"}, "content_type": {"const": "base64"}},
                "additionalProperties": {"type": ["string", "number", "boolean"], "maxLength": 256},
            },
            "outputs": {**array(_WANTED), "description": "all of them where none is named"},
        },
    ),
    "InferenceAnswer": record(
        {"model_name": TEXT, "outputs": array(_OUTPUT)},
        {
            "id": TEXT,
            "model_version": {"type": "string", "description": "where one version answered all the images"},
        },
    ),
    "ProtocolError": record({"error": {"type": "string", "description": "one sentence for a person"}}),
}
