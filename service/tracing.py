"""One span for each request, where the user's environment names a collector; nothing is imported where it does not."""

import asyncio
import logging
import os
import threading
import time
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from service.classifier import Answer

if TYPE_CHECKING:
    from opentelemetry.trace import Span, Tracer

logger = logging.getLogger(__name__)

ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
_EXPORTER = "opentelemetry.exporter.otlp.proto.http"
_PROTOCOLS = ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "OTEL_EXPORTER_OTLP_PROTOCOL")
_SPEAKS = "http/protobuf"
# What a request's scope carries: its span, and the route that was found for it.
_SPAN, ROUTE = "kedge.span", "kedge.route"
# Asked every few seconds by machines: spans of them would bury the others.
_UNTRACED = ("/livez", "/readyz", "/metrics", "/v2/health/live", "/v2/health/ready")
_SERVER_FAULT = 500
_LAST_SPANS_S = 3.0
_COMPLAINTS_EVERY_S = 60.0


def open_spans(environment: Mapping[str, str] | None = None) -> "Spans | None":
    """Where spans go; None where no collector is named, or, with a word in the log, where none can be reached."""
    env = os.environ if environment is None else environment
    endpoint = next((env[name] for name in ENDPOINTS if env.get(name)), None)
    off = env.get("OTEL_TRACES_EXPORTER") == "none" or env.get("OTEL_SDK_DISABLED", "").lower() == "true"
    if endpoint is None or off:
        return None
    protocol = next((env[name] for name in _PROTOCOLS if env.get(name)), _SPEAKS)
    if protocol != _SPEAKS:
        logger.warning(
            "no traces are sent: %s is asked for, and only %s is spoken; set %s", protocol, _SPEAKS, _PROTOCOLS[0]
        )
        return None
    if not _installed(_EXPORTER):
        logger.warning("no traces are sent to %s: pip install 'kedge[traces]' brings what sends them", endpoint)
        return None
    return Spans()


def tell_span(scope: Scope, answers: Sequence[Answer]) -> None:
    """Tell the request's span what was answered; nothing where there is none."""
    span: Span | None = scope.get(_SPAN)
    if span is not None:
        span.set_attribute("kedge.images", len(answers))
        span.set_attribute("kedge.model", ", ".join(sorted({answer.model for answer in answers})))


class Spans:
    """
    Makes spans and sends them, in the background, to the collector that the environment names.

    The provider is ours alone, never the process's: what else is traced in this process stays as it is. It begins with
    the first span, for a supervisor that only imports the application has nothing to send.
    """

    def __init__(self) -> None:
        self._provider: Any = None
        self._tracer: Tracer | None = None

    @property
    def tracer(self) -> "Tracer":
        """What makes spans."""
        if self._tracer is None:
            self._tracer = self._started()
        return self._tracer

    async def close(self) -> None:
        """Send what still waits, but not for long: a collector that is away must not hold up the end."""
        if self._provider is not None:
            last = threading.Thread(target=self._provider.shutdown, daemon=True)
            last.start()
            await asyncio.to_thread(last.join, _LAST_SPANS_S)

    def _started(self) -> "Tracer":
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
        from opentelemetry.sdk.resources import SERVICE_NAME, Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        logging.getLogger(f"{_EXPORTER}.trace_exporter").addFilter(_Seldom())
        named = "OTEL_SERVICE_NAME" in os.environ or SERVICE_NAME in os.environ.get("OTEL_RESOURCE_ATTRIBUTES", "")
        resource = Resource.create({} if named else {SERVICE_NAME: "kedge"})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        tracer: Tracer = self._provider.get_tracer("kedge")
        return tracer


class RequestSpans:
    """The layer that gives each request a span, below the caller's own where its headers name one (W3C traceparent)."""

    def __init__(self, app: ASGIApp, spans: Spans) -> None:
        self.app, self._spans = app, spans

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["path"] in _UNTRACED:
            await self.app(scope, receive, send)
            return
        from opentelemetry import propagate
        from opentelemetry.trace import SpanKind, StatusCode

        parent = propagate.extract(dict(Headers(scope=scope)))
        facts = {"http.request.method": scope["method"], "url.path": scope["path"]}
        with self._spans.tracer.start_as_current_span(scope["method"], parent, SpanKind.SERVER, facts) as span:

            async def watched(message: Message) -> None:
                if message["type"] == "http.response.start":
                    span.set_attributes(_facts_of(message))
                    if message["status"] >= _SERVER_FAULT:
                        span.set_status(StatusCode.ERROR)
                await send(message)

            scope[_SPAN] = span
            try:
                await self.app(scope, receive, watched)
            finally:
                # Named after the route, which only the router knows, never after what a caller makes up.
                if ROUTE in scope:
                    span.set_attribute("http.route", scope[ROUTE])
                    span.update_name(f"{scope['method']} {scope[ROUTE]}")


class _Seldom(logging.Filter):
    """One line a minute: a collector that is away is complained of at every attempt."""

    _next_at = 0.0

    def filter(self, record: logging.LogRecord) -> bool:
        if time.monotonic() < self._next_at:
            return False
        self._next_at = time.monotonic() + _COMPLAINTS_EVERY_S
        return True


def _facts_of(start: Message) -> dict[str, Any]:
    request_id = Headers(raw=start["headers"]).get("x-request-id")
    facts = {"http.response.status_code": start["status"]}
    return facts if request_id is None else {**facts, "kedge.request_id": request_id}


def _installed(module: str) -> bool:
    try:
        return find_spec(module) is not None
    except ModuleNotFoundError:
        return False  # a package above it is missing
