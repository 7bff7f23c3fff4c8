"""`/v1/retrain`: somebody outside asks for a retrain; the watcher's next look answers, and says why."""

import asyncio
import json
from typing import Any

from sqlalchemy.exc import SQLAlchemyError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from infra.database import connect
from infra.retrain_requests import RetrainRequest, ask_for_retrain, retrain_request
from infra.settings import Settings
from service.access import limited_body
from service.door import Caller
from service.errors import Refusal
from service.uploads import uploaded
from service.worker import Worker

MOST_REASON = 500
_MOST_BYTES = 16_000
_MOST_ID = 36
_CODE = "bad_retrain_request"


async def ask(request: Request) -> Response:
    """Write the request and answer at once: whether a retrain starts, a look decides."""
    worker = _worker(request)
    reason = await uploaded(_reason(request), worker.settings.serve)
    caller: Caller = request.scope["state"]["caller"]
    asked = await asyncio.to_thread(_ask, worker.settings, caller.id, reason)
    return JSONResponse({"request": asked.id}, 202, headers={"Location": f"/v1/retrain/{asked.id}"})


async def find(request: Request) -> Response:
    """How a request stands."""
    identifier = request.path_params["request"]
    found = await asyncio.to_thread(_find, _worker(request).settings, identifier)
    if found is None:
        raise Refusal(404, "no_such_request", f"nobody asked for a retrain under '{identifier[:64]}'")
    return JSONResponse(_json(found))


async def _reason(request: Request) -> str:
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in ("application/json", ""):
        raise Refusal(415, "unsupported_media_type", f"the body is '{kind}'; send application/json")
    body = b"".join([chunk async for chunk in limited_body(request, _MOST_BYTES)])
    try:
        given = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Refusal(400, _CODE, f"the body is not JSON: {error}") from error
    reason = given.get("reason") if isinstance(given, dict) and set(given) <= {"reason"} else None
    if not isinstance(reason, str) or not reason.strip() or len(reason) > MOST_REASON or not reason.isprintable():
        raise Refusal(400, _CODE, f'the body should be {{"reason": "…"}}, with 1 to {MOST_REASON} printable characters')
    return reason.strip()


def _ask(settings: Settings, caller: str, reason: str) -> RetrainRequest:
    # Seldom enough for a connection of its own: a worker holds none that could grow stale.
    engine = connect(settings.storage.database)
    try:
        return ask_for_retrain(engine, settings.project.name, caller, reason)
    except SQLAlchemyError as error:
        raise _away() from error
    finally:
        engine.dispose()


def _find(settings: Settings, identifier: str) -> RetrainRequest | None:
    if len(identifier) > _MOST_ID:
        return None
    engine = connect(settings.storage.database)
    try:
        found = retrain_request(engine, identifier)
    except SQLAlchemyError as error:
        raise _away() from error
    finally:
        engine.dispose()
    return found if found is not None and found.name == settings.project.name else None


def _away() -> Refusal:
    return Refusal(503, "database_away", "the database is away, so nobody can be asked; send this again", 5)


def _json(found: RetrainRequest) -> dict[str, Any]:
    return {
        "request": found.id,
        "state": found.state,
        "reason": found.reason,
        "words": found.words or "It waits for the watcher's next look.",
        "job": found.job_id,
        "asked_at": found.at.isoformat(),
        "decided_at": None if found.decided_at is None else found.decided_at.isoformat(),
    }


def _worker(request: Request) -> Worker:
    worker: Worker = request.app.state.worker
    return worker
