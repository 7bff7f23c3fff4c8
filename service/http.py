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
from service import retraining
from service.access import TokenGate
from service.classifier import Answer, Question
from service.docs_page import docs_page, index_page
from service.drain import Drain, DrainGate
from service.envelope import Envelope
from service.errors import Refusal, error_response, refusal_of
from service.feedback import keep_labels, read_labels
from service.inference_protocol import ENDPOINTS, ProtocolErrors
from service.lineup import LoadedModel
from service.metrics import CONTENT_TYPE, Metrics
from service.openapi import document
from service.questions import read_questions
from service.tracing import ROUTE, RequestSpans, open_spans, tell_span
from service.uploads import uploaded
from service.worker import Worker, spool_folder

logger = logging.getLogger(__name__)

Handler = Callable[[Request], Awaitable[Response]]

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
        _timed_route("POST", "/v1/predict", _predict),
        _timed_route("POST", "/v1/feedback", _feedback),
        _timed_route("GET", "/v1/model", _model),
        _timed_route("POST", "/v1/retrain", retraining.ask),
        _timed_route("GET", "/v1/retrain/{request}", retraining.find),
        Route("/livez", _livez, methods=["GET"]),
        Route("/readyz", _readyz, methods=["GET"]),
        Route("/metrics", _metrics, methods=["GET"]),
        Route("/openapi.json", _openapi, methods=["GET"]),
        Route("/docs", _docs, methods=["GET"]),
        Route("/", _index, methods=["GET"]),
        *(_timed_route(each.method, each.path, each.handler) for each in ENDPOINTS),
    ]

    spans = open_spans()
    drain = Drain(chosen.serve.drain_s, chosen.serve.deadline_s)

    @contextlib.asynccontextmanager
    async def lifespan(app: Starlette) -> AsyncIterator[None]:
        metrics = Metrics(spool_folder(chosen), [route.path for route in routes])
        worker = await asyncio.to_thread(Worker, chosen, metrics)
        app.state.worker = worker
        try:
            with drain.on_signals():
                yield
        finally:
            await asyncio.to_thread(worker.close)
            if spans is not None:
                await spans.close()

    return Starlette(
        routes=routes,
        lifespan=lifespan,
        middleware=[
            *([Middleware(RequestSpans, spans=spans)] if spans else []),
            Middleware(ProtocolErrors),
            Middleware(Envelope),
            Middleware(DrainGate, drain=drain),
            Middleware(TokenGate),
        ],
        exception_handlers={HTTPException: _http_error, Refusal: _refused, Exception: _fault},
    )


def project_settings() -> Settings:
    """The settings of the project that this server was started for."""
    root = os.environ.get(ROOT_VARIABLE)
    return load(Path(root) if root else None)


async def _predict(request: Request) -> Response:
    worker = _worker(request)
    asked = await uploaded(read_questions(request, worker.settings.serve), worker.settings.serve)
    futures = worker.batcher.submit(asked.questions, deadline=time.monotonic() + worker.settings.serve.deadline_s)
    worker.metrics.queue(worker.batcher.waiting)
    if not asked.many:
        answer = await futures[0]
        tell_span(request.scope, [answer])
        return _json(_answer_json(answer))
    outcomes = await asyncio.gather(*futures, return_exceptions=True)
    tell_span(request.scope, [outcome for outcome in outcomes if isinstance(outcome, Answer)])
    return _json({"predictions": [_outcome_json(*pair) for pair in zip(asked.questions, outcomes, strict=True)]})


async def _feedback(request: Request) -> Response:
    worker = _worker(request)
    given = await uploaded(read_labels(request, worker.settings.serve), worker.settings.serve)
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
            "canary": _trial_json(live.lineup.canary if live.lineup else None),
            "shadow": _trial_json(live.lineup.shadow if live.lineup else None),
            "trial_error": live.trial_error,
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


def _timed_route(method: str, path: str, handler: Handler) -> Route:
    """A route whose requests are counted and timed, and what goes wrong inside them turned into a refusal."""

    async def timed(request: Request) -> Response:
        begun = time.perf_counter()
        request.scope[ROUTE] = path
        try:
            async with asyncio.timeout(_worker(request).settings.serve.deadline_s):
                response = await handler(request)
        except Exception as error:
            refusal = refusal_of(error)
            if refusal is None:
                identifier = request.state.request_id
                logger.exception("%s %s failed (request %s)", request.method, request.url.path, identifier)
                refusal = Refusal(500, "internal", "the service failed at this request; its log says why")
            response = error_response(refusal)
        # The route, not the address: a model's name in it is whatever the caller makes up.
        _worker(request).metrics.request(path, response.status_code, time.perf_counter() - begun)
        return response

    return Route(path, timed, methods=[method])


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


def _trial_json(trial: LoadedModel | None) -> dict[str, Any] | None:
    if trial is None:
        return None
    return {"model": trial.title, "version": trial.version, "share": trial.share, "since": trial.since.isoformat()}


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
