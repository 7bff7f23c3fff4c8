"""The console's web application: read-only pages, a feed for machines, and the watcher's metrics."""

import hashlib
import importlib.metadata
import importlib.resources
import json
import logging
import mimetypes
import re
from datetime import datetime
from http import HTTPStatus
from ipaddress import ip_address
from pathlib import Path
from typing import Any

import jinja2
import sqlalchemy as sa
from markupsafe import Markup, escape
from sqlalchemy.exc import OperationalError
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.gzip import GZipMiddleware
from starlette.middleware.trustedhost import TrustedHostMiddleware
from starlette.requests import Request
from starlette.responses import FileResponse, HTMLResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from infra.clock import now
from infra.objects import ObjectMissing, ObjectStore
from infra.settings import Settings
from monitoring import metrics
from monitoring.console import decisions, rows, state, to_label, views, words
from monitoring.labelling.rows import is_waiting
from monitoring.prediction_log import image_key

_HERE = Path(__file__).parent
_PLOTLY = Path(str(importlib.resources.files("plotly"))) / "package_data" / "plotly.min.js"
_PICTURE_POLICY = "default-src 'none'; sandbox; frame-ancestors 'none'"
_CODE = Markup("<code>{}</code>")
_OVERVIEW, _DECISIONS = "sections.html", "decisions.html"
_log = logging.getLogger(__name__)

# Plotly writes style elements of its own, so styles may be inline; scripts may not.
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
# A report carries its scripts inside and may show words that callers sent: it runs in an origin of its own.
_REPORT_POLICY = (
    "sandbox allow-scripts; default-src 'none'; script-src 'unsafe-inline' 'unsafe-eval' blob:; worker-src blob:; "
    "style-src 'unsafe-inline'; img-src data: blob:; font-src data:; frame-ancestors 'none'"
)


def application(settings: Settings, engine: sa.Engine, objects: ObjectStore) -> Starlette:
    """The console of one project, over a database that is open and migrated."""
    pages = _Pages(settings, engine, objects)
    return Starlette(
        routes=[
            Route("/", pages.page),
            Route("/console", pages.page),
            Route("/fragment", pages.fragment),
            Route("/api/state.json", pages.state),
            Route("/decisions", pages.decisions),
            Route("/decisions/fragment", pages.decisions_fragment),
            Route("/api/decisions.json", pages.decisions_document),
            Route("/metrics", pages.metrics),
            Route("/healthz", pages.health),
            Route("/livez", pages.health),
            Route("/reports/{key:path}", pages.report),
            Route("/to-label/{sha256}", pages.picture),
            Route("/assets/plotly.min.js", _plotly),
            Mount("/assets", StaticFiles(directory=_HERE / "assets")),
        ],
        middleware=[
            Middleware(TrustedHostMiddleware, allowed_hosts=_allowed_hosts(settings.console.host), www_redirect=False),
            Middleware(_SecurityHeaders),
            Middleware(GZipMiddleware, minimum_size=2000, compresslevel=5),
        ],
        exception_handlers={OperationalError: _database_away, HTTPException: _not_here},
    )


class _Pages:
    """The endpoints; they are plain functions, so Starlette runs each in a thread and a slow query blocks nobody."""

    def __init__(self, settings: Settings, engine: sa.Engine, objects: ObjectStore) -> None:
        self.settings, self.engine, self.objects = settings, engine, objects
        self.listening_since = now()
        self.templates = _templates()

    def page(self, request: Request) -> Response:
        return HTMLResponse(self._rendered("page.html", request), headers={"Cache-Control": "no-store"})

    def fragment(self, request: Request) -> Response:
        return self._fragment(self._rendered(_OVERVIEW, request), request)

    def decisions(self, _request: Request) -> Response:
        return HTMLResponse(self._decisions_rendered("page.html"), headers={"Cache-Control": "no-store"})

    def decisions_fragment(self, request: Request) -> Response:
        return self._fragment(self._decisions_rendered(_DECISIONS), request)

    def decisions_document(self, _request: Request) -> Response:
        body = json.dumps(decisions.document(self.engine, self.settings.project.name), default=_plain)
        return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})

    def _fragment(self, body: str, request: Request) -> Response:
        tag = f'W/"{_fingerprint(body)}"'
        headers = {"ETag": tag, "Cache-Control": "no-store"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=HTTPStatus.NOT_MODIFIED, headers=headers)
        return HTMLResponse(body, headers=headers)

    def state(self, _request: Request) -> Response:
        found = rows.gather(self.engine, self.settings.project.name)
        body = json.dumps(state.state(found, self.settings, now(), self.listening_since), default=_plain)
        return Response(body, media_type="application/json", headers={"Cache-Control": "no-store"})

    def metrics(self, _request: Request) -> Response:
        return Response(metrics.exposition(self.engine, self.settings), media_type=metrics.CONTENT_TYPE)

    def health(self, _request: Request) -> Response:
        with self.engine.connect() as connection:
            connection.execute(sa.text("select 1"))
        return PlainTextResponse("ok")

    def report(self, request: Request) -> Response:
        key = request.path_params["key"]
        # Only what a row names as a page: the store also holds images and models.
        if not rows.is_published(self.engine, key):
            raise HTTPException(
                HTTPStatus.NOT_FOUND, f"No report is kept under '{key}'. The console lists those there are."
            )
        try:
            body = self.objects.get(key)
        except ObjectMissing as error:
            raise HTTPException(
                HTTPStatus.NOT_FOUND, f"The report '{key}' was written but is no longer in {self.objects.describe()}."
            ) from error
        kind = mimetypes.guess_type(key)[0] or "application/octet-stream"
        return Response(body, media_type=kind, headers={"Content-Security-Policy": _REPORT_POLICY})

    def picture(self, request: Request) -> Response:
        sha256 = request.path_params["sha256"]
        name = self.settings.project.name
        # Only what a person is asked about right now, and only to this machine: of all else nothing is shown.
        if not to_label.pictures_are_shown(self.settings) or not is_waiting(self.engine, name, sha256):
            raise HTTPException(HTTPStatus.NOT_FOUND, f"No label is waited for of a picture '{sha256}'.")
        try:
            body = self.objects.get(image_key(sha256))
        except ObjectMissing as error:
            raise HTTPException(HTTPStatus.NOT_FOUND, f"The picture '{sha256}' has been deleted.") from error
        kind = to_label.kind_of(body)
        if kind is None:
            raise HTTPException(HTTPStatus.NOT_FOUND, f"'{sha256}' is of a kind that is not shown here.")
        headers = {"Content-Security-Policy": _PICTURE_POLICY, "Cache-Control": "private, max-age=300"}
        return Response(body, media_type=kind, headers=headers)

    def _rendered(self, template: str, request: Request) -> str:
        found = rows.gather(self.engine, self.settings.project.name)
        host = request.url.hostname or "127.0.0.1"
        page = views.page(found, self.settings, now(), seen_from=host, listening_since=self.listening_since)
        return self.templates.get_template(template).render(page=page, body=_OVERVIEW, fragment="fragment")

    def _decisions_rendered(self, template: str) -> str:
        page = decisions.page(self.engine, self.settings, now())
        return self.templates.get_template(template).render(page=page, body=_DECISIONS, fragment="decisions/fragment")


class _SecurityHeaders:
    """Adds what every answer carries; a report brings a policy of its own."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def sending(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message["headers"]}
                always = {
                    b"content-security-policy": _PAGE_POLICY.encode(),
                    b"x-content-type-options": b"nosniff",
                    b"referrer-policy": b"no-referrer",
                    b"x-frame-options": b"DENY",
                    b"cross-origin-opener-policy": b"same-origin",
                    b"cross-origin-resource-policy": b"same-origin",
                }
                message["headers"] = [*message["headers"], *(pair for pair in always.items() if pair[0] not in given)]
            await send(message)

        await self.app(scope, receive, sending)


def _plotly(_request: Request) -> Response:
    # The library comes with its Python package: no other machine is asked for it. A page names its version.
    return FileResponse(_PLOTLY, media_type="text/javascript", headers={"Cache-Control": "public, max-age=604800"})


async def _database_away(_request: Request, error: Exception) -> Response:
    _log.error("The database does not answer: %s", error)
    return PlainTextResponse(
        "The database does not answer, so there is nothing to show. `kedge doctor` says which one is asked.\n",
        HTTPStatus.SERVICE_UNAVAILABLE,
    )


async def _not_here(_request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    return PlainTextResponse(f"{error.detail}\n", error.status_code)


def _templates() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_HERE / "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        fingerprint=_fingerprint,
        commands=_commands,
        ago=words.ago, clock=words.clock, stamp=words.stamp, percent=words.percent, count=words.count,
    )  # fmt: skip
    environment.globals["plotly_version"] = importlib.metadata.version("plotly")
    return environment


def _fingerprint(text: str | Markup) -> str:
    return hashlib.sha256(str(text).encode()).hexdigest()[:16]


def _commands(text: str) -> Markup:
    """A sentence with its `commands` set apart; everything else in it is escaped."""
    parts = re.split(r"`([^`]+)`", text)
    return Markup("").join(escape(part) if place % 2 == 0 else _CODE.format(part) for place, part in enumerate(parts))


def _allowed_hosts(host: str) -> list[str]:
    """On loopback only this machine's own names are answered: a page elsewhere cannot read us by a name of its own."""
    if host == "localhost" or (_is_address(host) and ip_address(host).is_loopback):
        return ["localhost", "127.0.0.1", "::1", "[", host]
    return ["*"]


def _is_address(host: str) -> bool:
    try:
        ip_address(host)
    except ValueError:
        return False
    return True


def _plain(value: Any) -> str:
    return value.isoformat() if isinstance(value, datetime) else str(value)
