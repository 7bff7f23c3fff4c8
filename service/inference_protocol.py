"""The Open Inference Protocol over HTTP (KServe's v2): its addresses beside our own, for clients that know only it."""

import asyncio
import importlib.metadata
import json
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infra.clock import new_id
from service.access import limited_body
from service.classifier import Answer, Question
from service.errors import Refusal, refusal_of
from service.inference_answer import JSON_BYTES, body_of, tensors_of
from service.inference_request import CODE, InferenceRequest, read_inference
from service.lineup import Lineup, LoadedModel
from service.questions import refused_together
from service.tracing import tell_span
from service.uploads import uploaded
from service.worker import Worker

_ROOT = "/v2"
# The last but one is what curl calls every body of which it is told nothing.
_TYPES = ("application/json", "application/octet-stream", "application/x-www-form-urlencoded", "")
_PLATFORM = "onnxruntime_onnx"
_ERROR_CODE = "X-Error-Code"
_FIRST_ERROR = 400


@dataclass(frozen=True)
class Endpoint:
    """One address of the protocol; `path` may have places for a model's name and version."""

    method: str
    path: str
    handler: Callable[[Request], Awaitable[Response]]


async def _server(_: Request) -> Response:
    facts = {"name": "kedge", "version": _release(), "extensions": ["binary_tensor_data"]}
    return JSONResponse(facts)


async def _alive(_: Request) -> Response:
    return JSONResponse({"live": True})


async def _ready(request: Request) -> Response:
    _lineup(request)
    return JSONResponse({"ready": True})


async def _model_ready(request: Request) -> Response:
    model = _asked_model(request)
    return JSONResponse({"name": model.name, "ready": True})


async def _model(request: Request) -> Response:
    model = _asked_model(request)
    classes = model.runtime.artifact.classes
    versions = [str(each.version) for each in _answering(_lineup(request))]
    return JSONResponse({"name": model.name, "versions": versions, "platform": _PLATFORM, **tensors_of(classes)})


async def _infer(request: Request) -> Response:
    worker = _worker(request)
    # The address is looked at before the body is read: a mistake in it should not cost an upload.
    model = _asked_model(request)
    asked = await uploaded(_read(request, int(worker.settings.serve.most_body_mb * 1_000_000)), worker.settings.serve)
    refused = await refused_together(asked.images, worker.settings.serve)
    version = model.version if "version" in request.path_params else None
    questions = [
        Question(new_id(), data, asked.metadata, version=version, refusal=refused.get(place))
        for place, data in enumerate(asked.images)
    ]
    futures = worker.batcher.submit(questions, deadline=time.monotonic() + worker.settings.serve.deadline_s)
    worker.metrics.queue(worker.batcher.waiting)
    answers = _answers(await asyncio.gather(*futures, return_exceptions=True))
    tell_span(request.scope, answers)
    body = body_of(asked, model.name, answers)
    if body.json_bytes is None:
        return Response(body.content, media_type="application/json")
    return Response(body.content, headers={JSON_BYTES: str(body.json_bytes)}, media_type="application/octet-stream")


ENDPOINTS = (
    Endpoint("GET", "/v2", _server),
    Endpoint("GET", "/v2/health/live", _alive),
    Endpoint("GET", "/v2/health/ready", _ready),
    Endpoint("GET", "/v2/models/{name}", _model),
    Endpoint("GET", "/v2/models/{name}/versions/{version}", _model),
    Endpoint("GET", "/v2/models/{name}/ready", _model_ready),
    Endpoint("GET", "/v2/models/{name}/versions/{version}/ready", _model_ready),
    Endpoint("POST", "/v2/models/{name}/infer", _infer),
    Endpoint("POST", "/v2/models/{name}/versions/{version}/infer", _infer),
)


class ProtocolErrors:
    """
    Tells every refusal below `/v2` in the protocol's form, `{"error": "<message>"}`, whoever refused.

    The stable code goes into the header X-Error-Code.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not (scope["path"] == _ROOT or scope["path"].startswith(f"{_ROOT}/")):
            await self.app(scope, receive, send)
            return
        held: list[Message] = []

        async def told(message: Message) -> None:
            if message["type"] == "http.response.start" and message["status"] >= _FIRST_ERROR:
                held.append(message)
            elif not held or message["type"] != "http.response.body":
                await send(message)
            else:
                held.append(message)
                if not message.get("more_body"):
                    for each in _in_their_form(held[0], b"".join(part.get("body", b"") for part in held[1:])):
                        await send(each)

        await self.app(scope, receive, told)


def _in_their_form(start: Message, body: bytes) -> tuple[Message, Message]:
    try:
        error = json.loads(body)["error"]
        code, message = error["code"], error["message"]
    except (ValueError, KeyError, TypeError):
        return start, {"type": "http.response.body", "body": body}  # the answer to HEAD, which has none
    content = json.dumps({"error": message}).encode()
    headers = MutableHeaders(raw=start["headers"])
    headers["Content-Length"], headers[_ERROR_CODE] = str(len(content)), code
    return {**start, "headers": headers.raw}, {"type": "http.response.body", "body": content}


async def _read(request: Request, most_bytes: int) -> InferenceRequest:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in _TYPES:
        raise Refusal(
            415, "unsupported_media_type", f"the body is '{kind}'; send application/json, or application/octet-stream"
        )
    announced = request.headers.get(JSON_BYTES)
    if announced is not None and not (announced.isascii() and announced.isdecimal() and len(announced) < 16):  # noqa: PLR2004 - no body is longer
        raise Refusal(400, CODE, f"{JSON_BYTES} should be the length of the JSON in bytes")
    body = b"".join([chunk async for chunk in limited_body(request, most_bytes)])
    return read_inference(body, None if announced is None else int(announced))


def _answers(outcomes: Sequence[Answer | BaseException]) -> list[Answer]:
    """All the answers, or the refusal of the whole request: the protocol has no form for one image's error."""
    failed = {place: outcome for place, outcome in enumerate(outcomes) if isinstance(outcome, BaseException)}
    for place, error in failed.items():
        refusal = refusal_of(error)
        if refusal is None or refusal.status in (429, 503):
            raise error  # nobody's image is at fault
        others = f" (and {len(failed) - 1} more cannot be used)" if len(failed) > 1 else ""
        raise Refusal(refusal.status, refusal.code, f"image {place}: {refusal.message}{others}")
    return [outcome for outcome in outcomes if not isinstance(outcome, BaseException)]


def _asked_model(request: Request) -> LoadedModel:
    """The model that the address names; where it names no version, the champion."""
    lineup = _lineup(request)
    name, version = request.path_params["name"], request.path_params.get("version")
    if name != lineup.champion.name:
        raise Refusal(404, "no_such_model", f"there is no model '{name[:64]}' here; there is '{lineup.champion.name}'")
    answering = {str(model.version): model for model in _answering(lineup)}
    if version is not None and version not in answering:
        raise Refusal(
            404,
            "no_such_version",
            f"version '{version[:64]}' of {name} does not answer; those that do: {', '.join(answering)}. "
            "`kedge promote` and `kedge canary` decide who answers",
        )
    return lineup.champion if version is None else answering[version]


def _answering(lineup: Lineup) -> list[LoadedModel]:
    return [model for model in (lineup.champion, lineup.canary) if model is not None]


def _lineup(request: Request) -> Lineup:
    live = _worker(request).live
    if live.lineup is None:
        raise Refusal(503, "no_model", live.error or "no version was promoted yet; `kedge train` makes the first")
    return live.lineup


def _worker(request: Request) -> Worker:
    worker: Worker = request.app.state.worker
    return worker


def _release() -> str:
    try:
        return importlib.metadata.version("kedge")
    except importlib.metadata.PackageNotFoundError:
        return "unreleased"  # run from a checkout that was not installed
