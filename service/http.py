"""The routes: what may be asked over HTTP, and how answers and refusals look."""

import asyncio
import contextlib
import json
import logging
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from infra import logs
from infra.settings import Settings, load
from service.access import TokenGate
from service.classifier import Answer, Question
from service.errors import Refusal, error_response, refusal_of
from service.feedback import keep_labels, read_labels
from service.metrics import CONTENT_TYPE, Metrics
from service.openapi import docs_page, document, index_page
from service.questions import read_questions
from service.worker import Worker, spool_folder

logger = logging.getLogger(__name__)

Handler = Callable[[Request], Awaitable[Response]]

_DEADLINE_S = 60.0
ROOT_VARIABLE = "KEDGE_ROOT"


def create_app(settings: Settings | None = None) -> Starlette:
    """
    The application; its worker starts and stops with its lifespan.

    Args:
        settings: by default those of the folder that KEDGE_ROOT names, or of the current one; this is how a plain
            server starts it, and then it logs where it should.
    """
    chosen = settings or project_settings()
    if settings is None:
        logs.configure("service", chosen.storage.home)
    routes = [
        Route("/v1/predict", _timed(_predict), methods=["POST"]),
        Route("/v1/feedback", _timed(_feedback), methods=["POST"]),
        Route("/v1/model", _timed(_model), methods=["GET"]),
        Route("/livez", _livez, methods=["GET"]),
        Route("/readyz", _readyz, methods=["GET"]),
        Route("/metrics", _metrics, methods=["GET"]),
        Route("/openapi.json", _openapi, methods=["GET"]),
        Route("/docs", _docs, methods=["GET"]),
        Route("/", _index, methods=["GET"]),
    ]

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        metrics = Metrics(spool_folder(chosen), [route.path for route in routes])
        worker = await asyncio.to_thread(Worker, chosen, metrics)
        app.state.worker = worker
        try:
            yield
        finally:
            await asyncio.to_thread(worker.close)

    return Starlette(
        routes=routes,
        lifespan=lifespan,
        middleware=[Middleware(TokenGate, token=chosen.serve.token)],
        exception_handlers={HTTPException: _http_error, Refusal: _refused, Exception: _fault},
    )


def project_settings() -> Settings:
    """The settings of the project that this server was started for."""
    root = os.environ.get(ROOT_VARIABLE)
    return load(Path(root) if root else None)


async def _predict(request: Request) -> Response:
    worker = _worker(request)
    asked = await read_questions(request, worker.settings.serve)
    futures = worker.batcher.submit(asked.questions)
    worker.metrics.queue(worker.batcher.waiting)
    if not asked.many:
        return _json(_answer_json(await futures[0]))
    outcomes = await asyncio.gather(*futures, return_exceptions=True)
    return _json({"predictions": [_outcome_json(*pair) for pair in zip(asked.questions, outcomes, strict=True)]})


async def _feedback(request: Request) -> Response:
    worker = _worker(request)
    given = await read_labels(request, worker.settings.serve)
    kept = await asyncio.to_thread(keep_labels, worker, given)
    status = 202 if kept.notes else 200
    return _json({"kept": len(given), "notes": [note.to_json() for note in kept.notes]}, status)


async def _model(request: Request) -> Response:
    live = _worker(request).live
    model = live.current
    if model is None:
        reason = live.error or "no version was promoted yet; `kedge train` makes and promotes the first"
        raise Refusal(503, "no_model", reason)
    artifact = model.runtime.artifact
    return _json(
        {
            "model": model.title,
            "name": model.name,
            "version": model.version,
            "classes": list(artifact.classes),
            "input": artifact.preprocessing.to_json(),
            "since": model.since.isoformat(),
            "error": live.error,
            "canary": None,
            "shadow": None,
        }
    )


async def _livez(_: Request) -> Response:
    return _json({"status": "alive"})


async def _readyz(request: Request) -> Response:
    live = _worker(request).live
    if live.current is None:
        raise Refusal(503, "no_model", live.error or "no model is loaded yet")
    return _json({"status": "ready", "model": live.current.title})


async def _metrics(request: Request) -> Response:
    worker = _worker(request)
    worker.metrics.queue(worker.batcher.waiting)
    return Response(await asyncio.to_thread(worker.metrics.page), media_type=CONTENT_TYPE)


async def _openapi(request: Request) -> Response:
    return _json(document(_worker(request).settings.project.name))


async def _docs(request: Request) -> Response:
    return HTMLResponse(docs_page(document(_worker(request).settings.project.name)))


async def _index(request: Request) -> Response:
    return HTMLResponse(index_page(_worker(request).settings.project.name))


def _timed(handler: Handler) -> Handler:
    """Counts and times the requests of a route, and turns what went wrong inside into a refusal."""

    async def timed(request: Request) -> Response:
        begun = time.perf_counter()
        try:
            async with asyncio.timeout(_DEADLINE_S):
                response = await handler(request)
        except Exception as error:
            refusal = refusal_of(error)
            if refusal is None:
                logger.exception("%s %s failed", request.method, request.url.path)
                refusal = Refusal(500, "internal", "the service failed at this request; its log says why")
            response = error_response(refusal)
        _worker(request).metrics.request(request.url.path, response.status_code, time.perf_counter() - begun)
        return response

    return timed


async def _http_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    code = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_request")
    message = {404: "there is nothing at this address; GET /docs lists what there is"}.get(error.status_code)
    refusal = Refusal(error.status_code, code, message or str(error.detail))
    return error_response(refusal, error.headers)


async def _refused(_: Request, error: Exception) -> Response:
    assert isinstance(error, Refusal)
    return error_response(error)


async def _fault(_: Request, error: Exception) -> Response:
    return error_response(Refusal(500, "internal", "the service failed at this request; its log says why"))


def _worker(request: Request) -> Worker:
    worker: Worker = request.app.state.worker
    return worker


def _answer_json(answer: Answer) -> dict[str, Any]:
    return {
        "id": answer.id,
        "model": answer.model,
        "label": answer.label,
        "confidence": round(answer.confidence, 6),
        "probabilities": {label: round(value, 6) for label, value in answer.probabilities.items()},
    }


def _outcome_json(question: Question, outcome: Answer | BaseException) -> dict[str, Any]:
    if not isinstance(outcome, BaseException):
        return _answer_json(outcome)
    refusal = refusal_of(outcome)
    if refusal is None or refusal.status in (429, 503):
        raise outcome  # not this item's fault, so the request fails as a whole and can be sent again
    return {"id": question.id, **refusal.to_json()}


def _json(content: Any, status: int = 200) -> Response:
    return Response(json.dumps(content, separators=(",", ":")), status, media_type="application/json")
