"""
The service as BentoML runs it: `bentoml serve service.app:ImageClassifier`.

KEDGE_ROOT names the project's folder.
"""

import logging
import os
from typing import Any, cast

import bentoml
from starlette.types import ASGIApp, Receive, Scope, Send

from infra import logs
from service.http import create_app, project_settings
from service.worker import leave_with_parent

# The supervisor imports this file first, and its workers inherit what it leaves here.
_SUPERVISOR = "KEDGE_SUPERVISOR"
os.environ.setdefault(_SUPERVISOR, str(os.getpid()))

_settings = project_settings()
_app = create_app(_settings)


class _OursFirst:
    """
    Answers every request by our own application.

    The shell's own pages would come first otherwise: its index loads a tracker from elsewhere, its 404s and its
    readiness are plain text.
    """

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await (_app if scope["type"] == "http" else self.app)(scope, receive, send)


@bentoml.service(
    name="image_classifier",
    workers=_settings.serve.workers,
    metrics={"enabled": False},
    logging={"access": {"enabled": False}},
    # The application has deadlines of its own, told in its own words; the shell keeps a timer alive for every
    # request for as long as this, so it is only a little longer than ours.
    traffic={"timeout": 65},
    # Three spans a request that nobody exports are a good part of its cost.
    tracing={"excluded_urls": ".*"},
)
class ImageClassifier:
    """The shell: starts the workers, carries the application, watches the process that started it."""

    def __init__(self) -> None:
        logs.configure("service", _settings.storage.home)
        # A line per request costs more than the answer's record; requests are counted by our own metrics.
        logging.getLogger("uvicorn.access").propagate = False
        leave_with_parent(int(os.environ[_SUPERVISOR]))

    async def __is_ready__(self) -> bool:
        worker: Any = getattr(_app.state, "worker", None)
        return worker is not None and worker.live.current is not None


_shell = cast("bentoml.Service[Any]", ImageClassifier)
_shell.add_asgi_middleware(_OursFirst)
# The mount gives the application its lifespan: its worker starts and stops with the shell's.
_shell.mount_asgi_app(_app, path="/")
