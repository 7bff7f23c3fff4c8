"""
The service as BentoML runs it: `bentoml serve service.app:ImageClassifier`, or `kedge serve`.

KEDGE_ROOT names the project's folder.
"""

import logging
import os
from pathlib import Path
from typing import Annotated, Any, cast

import bentoml
from bentoml.validators import ContentType
from pydantic import BaseModel
from starlette.types import ASGIApp, Receive, Scope, Send

from infra import logs
from infra.cores import usable_cores
from service.http import create_app, project_settings
from service.server import SUPERVISOR_VARIABLE
from service.worker import leave_with_parent

# BentoML's own supervisor imports this file first, and its workers inherit what it leaves here.
os.environ.setdefault(SUPERVISOR_VARIABLE, str(os.getpid()))

_CLASSIFY, _PREDICT = "/classify", "/v1/predict"
# What Bento's clients ask for to learn which calls there are.
_SCHEMA = "/schema.json"

_settings = project_settings()
_app = create_app(_settings)


class Classified(BaseModel):
    """An answer, as Bento's clients get it."""

    id: str
    model: str
    label: str
    confidence: float
    probabilities: dict[str, float]


class _OursFirst:
    """
    Answers every request by our own application, and Bento's own call by the same route as everybody's.

    The shell's own pages would come first otherwise: its index loads a tracker from elsewhere, its 404s and its
    readiness are plain text. Its way of reading an image makes a temporary folder per request, knows no limits, and
    answers a broken image with 500. Its clients send the form that our route reads anyhow.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or (scope["path"], scope["method"]) == (_SCHEMA, "GET"):
            await self.app(scope, receive, send)
            return
        if scope["path"] == _CLASSIFY:
            scope = {**scope, "path": _PREDICT, "raw_path": _PREDICT.encode()}
        await _app(scope, receive, send)


@bentoml.service(
    name="image_classifier",
    workers=_settings.serve.workers or usable_cores(),
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    # The application has deadlines of its own, told in its own words; the shell keeps a timer alive for every
    # request for as long as this, so it is only a little longer than ours.
    traffic={"timeout": _settings.serve.deadline_s + 5},
    # Three spans a request that nobody exports are a good part of its cost.
    tracing={"excluded_urls": ".*"},
)
class ImageClassifier:
    """The shell: starts the workers, carries the application, watches the process that started it."""

    def __init__(self) -> None:
        logs.configure("service", _settings.storage.home)
        # A line per request costs more than the answer's record; requests are counted by our own metrics.
        logging.getLogger("uvicorn.access").propagate = False
        leave_with_parent(int(os.environ[SUPERVISOR_VARIABLE]))

    @bentoml.api  # type: ignore[untyped-decorator]  # BentoML tells mypy nothing about it
    async def classify(
        self, image: Annotated[Path, ContentType("image/*")], metadata: dict[str, Any] | None = None
    ) -> Classified:
        """Label one image; `metadata` is a flat object of names and values, such as {"camera": "A"}."""
        # The schema is made from this signature; the call itself never comes here (see _OursFirst).
        raise NotImplementedError("/classify is answered by /v1/predict, to which _OursFirst leads every call")

    async def __is_ready__(self) -> bool:
        worker: Any = getattr(_app.state, "worker", None)
        return worker is not None and worker.live.current is not None


_shell = cast("bentoml.Service[Any]", ImageClassifier)
_shell.add_asgi_middleware(_OursFirst)
# The mount gives the application its lifespan: its worker starts and stops with the shell's.
_shell.mount_asgi_app(_app, path="/")


def application() -> ASGIApp:
    """The shell with the application in it, in a worker of `service.server`."""
    return cast("ASGIApp", _shell.to_asgi())
