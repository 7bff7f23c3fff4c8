"""Spans of requests, as a collector receives them: a real one of a few lines, and the real service."""

import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import httpx
import pytest

from service.tracing import open_spans
from tests.service.cards import picture

LIGHT = picture()
JPEG = {"Content-Type": "image/jpeg"}
TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


class Collector:
    """Receives spans as any collector does: OTLP over HTTP, in protobuf."""

    def __init__(self) -> None:
        self.spans: list[Any] = []
        self.names: set[str] = set()
        self.problems: list[str] = []
        collector = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.take(self.path, self.headers["Content-Type"], body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *args: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever)
        self._thread.start()
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def take(self, path: str, kind: str, body: bytes) -> None:
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

        if (path, kind) != ("/v1/traces", "application/x-protobuf"):
            self.problems.append(f"{path} {kind}")
            return
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
            self.names |= {each.value.string_value for each in resource.resource.attributes
                           if each.key == "service.name"}  # fmt: skip
            self.spans += [span for scope in resource.scope_spans for span in scope.spans]

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


@pytest.fixture
def collector(monkeypatch: pytest.MonkeyPatch) -> Iterator[Collector]:
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra kedge[traces] brings it")
    made = Collector()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", made.url)
    yield made
    made.close()


def attributes(span: Any) -> dict[str, Any]:
    return {each.key: getattr(each.value, each.value.WhichOneof("value")) for each in span.attributes}


def test_without_a_collector_nothing_is_added_and_nothing_is_imported():
    script = "import sys, service.http, service.tracing as t; print(t.open_spans({}), 'opentelemetry' in sys.modules)"

    child = subprocess.run([sys.executable, "-W", "ignore", "-c", script], cwd=Path(__file__).parents[2],
                           capture_output=True, text=True, check=True)  # fmt: skip

    assert child.stdout == "None False\n"


@pytest.mark.parametrize(
    "environment",
    [{"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_TRACES_EXPORTER": "none"},
     {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://x", "OTEL_SDK_DISABLED": "True"},
     {"OTEL_EXPORTER_OTLP_METRICS_ENDPOINT": "http://x"}],
)  # fmt: skip
def test_what_is_switched_off_stays_off_without_a_word(environment, caplog):
    assert open_spans(environment) is None
    assert caplog.messages == []


def test_a_missing_package_is_said_with_what_brings_it_and_serving_goes_on(monkeypatch, caplog):
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http", None)

    with caplog.at_level(logging.WARNING):
        assert open_spans({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://jaeger:4318/v1/traces"}) is None

    assert caplog.messages == [
        "no traces are sent to http://jaeger:4318/v1/traces: pip install 'kedge[traces]' brings what sends them"
    ]


def test_a_protocol_that_is_not_spoken_is_said_too(caplog):
    environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://jaeger:4317", "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}

    with caplog.at_level(logging.WARNING):
        assert open_spans(environment) is None

    assert caplog.messages[0].startswith("no traces are sent: grpc is asked for, and only http/protobuf is spoken")


@pytest.mark.slow
def test_a_collector_that_is_away_is_complained_of_once_a_minute(monkeypatch, caplog):
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra kedge[traces] brings it")
    with socket.socket() as taken:  # bound and not listening: connections are refused at once
        taken.bind(("127.0.0.1", 0))
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{taken.getsockname()[1]}")
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "3")
        spans = open_spans()
        with spans.tracer.start_as_current_span("one"):
            pass
        spans._provider.force_flush()

    assert len([record for record in caplog.records if "opentelemetry" in record.name]) == 1
    spans._provider.shutdown()


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["uvicorn", "bentoml"])
def test_every_request_becomes_one_span_below_its_callers(collector, place, runtime):
    place.champion()
    service = place.serve(runtime=runtime)
    with httpx.Client(base_url=place.url, timeout=30) as http:
        ids = {"traceparent": f"00-{TRACE}-{CALLER}-01", "X-Request-ID": "mine"}
        first = http.post("/v1/predict", content=LIGHT, headers={**JPEG, **ids})
        http.post("/v1/predict", files=[("image", LIGHT), ("image", b"no image"), ("image", LIGHT)])
        http.post("/v1/predict", content=b"no image", headers=JPEG)
        http.get("/v2/models/made-up/ready")
        for probe in ("/livez", "/readyz", "/metrics", "/v2/health/live"):
            http.get(probe)
    # What the process still holds goes out before it ends.
    service.terminate()
    service.wait(60)

    assert first.status_code == 200
    assert collector.problems == []
    assert collector.names == {"kedge"}
    told = [
        (span.name, attributes(span)) for span in sorted(collector.spans, key=lambda span: span.start_time_unix_nano)
    ]
    assert [name for name, _ in told] == ["POST /v1/predict"] * 3 + ["GET /v2/models/{name}/ready"]
    one, several, refused, unknown = (facts for _, facts in told)
    assert (one["kedge.model"], one["kedge.images"], one["kedge.request_id"]) == ("cards:1", 1, "mine")
    assert (several["kedge.images"], several["http.response.status_code"]) == (2, 200)
    assert (refused["http.response.status_code"], "kedge.model" in refused) == (422, False)
    assert (unknown["http.response.status_code"], unknown["http.route"]) == (404, "/v2/models/{name}/ready")
    (child,) = [span for span in collector.spans if span.trace_id.hex() == TRACE]
    assert (child.parent_span_id.hex(), child.kind) == (CALLER, child.SPAN_KIND_SERVER)


@pytest.mark.slow
def test_a_collector_that_is_away_costs_no_answer_and_hardly_delays_the_end(place, monkeypatch):
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http", reason="the extra kedge[traces] brings it")
    with socket.socket() as deaf:  # takes connections in its queue and never answers
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{deaf.getsockname()[1]}")
        place.champion()
        service = place.serve(runtime="uvicorn")
        with httpx.Client(base_url=place.url, timeout=30) as http:
            answers = [http.post("/v1/predict", content=LIGHT, headers=JPEG) for _ in range(3)]
        service.terminate()
        service.wait(25)

    assert [answer.status_code for answer in answers] == [200] * 3
    assert len(place.spooled()[0]) == 3
