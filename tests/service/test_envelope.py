"""What is around every answer: the id of its request, and the headers that keep browsers careful."""

import re
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest
from starlette.applications import Starlette
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, StreamingResponse
from starlette.routing import Route
from starlette.testclient import TestClient

from infra.clock import time_of_id
from service.envelope import Envelope
from service.http import create_app
from tests.service.cards import Place, new_place

JPEG = {"Content-Type": "image/jpeg"}


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """A service without a model: no answer of it needs one to be put into an envelope."""
    place = new_place(tmp_path_factory.mktemp("envelope"))
    with TestClient(create_app(place.settings), raise_server_exceptions=False) as client:
        yield client


def failing_app(handler) -> TestClient:
    routes = [Route("/v1/it", handler)]
    return TestClient(Starlette(routes=routes, middleware=[Middleware(Envelope)]))


def test_a_request_without_an_id_gets_one_that_sorts_by_time(client):
    first, second = (client.get("/livez").headers["X-Request-ID"] for _ in range(2))

    assert first != second
    assert time_of_id(first) <= time_of_id(second)


@pytest.mark.parametrize("identifier", ["a", "x" * 128, "9b2e:hall 3/é".replace("é", "e"), "~!@#$%^&*()"])
def test_the_callers_own_id_comes_back(client, identifier):
    assert client.get("/livez", headers={"X-Request-ID": identifier}).headers["X-Request-ID"] == identifier


@pytest.mark.parametrize("identifier", [b"", b"x" * 129, "ü".encode(), b"a\tb", b"\x7f", b" a", b"a\x1b[31m", b" "])
def test_an_id_that_could_harm_a_log_is_replaced(client, identifier):
    given = client.get("/livez", headers={"X-Request-ID": identifier}).headers["X-Request-ID"]

    assert time_of_id(given) is not None


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nothing", 404),
        ("GET", "/v1/predict", 405),
        ("POST", "/v1/predict", 413),
        ("GET", "/v1/model", 503),
        ("GET", "/readyz", 503),
        ("GET", "/v2/models/nobody", 503),
    ],
)
def test_every_error_carries_the_id_of_its_request(client, method, path, status):
    content = bytes(2_000_001) if method == "POST" else None

    response = client.request(method, path, content=content, headers={**JPEG, "X-Request-ID": "mine"})

    assert (response.status_code, response.headers["X-Request-ID"]) == (status, "mine")
    assert response.headers["X-Content-Type-Options"] == "nosniff"


def test_who_is_turned_away_at_the_door_is_told_the_id_too(place: Place):
    settings = replace(place.settings, serve=replace(place.settings.serve, token="t", most_requests_per_s=0.01))
    with TestClient(create_app(settings)) as client:
        sent = [{"X-Request-ID": "1"}, *({"X-Request-ID": each, "Authorization": "Bearer t"} for each in "23")]
        seen = [client.get("/v1/model", headers=headers) for headers in sent]

    assert [(each.status_code, each.headers["X-Request-ID"]) for each in seen] == [(401, "1"), (503, "2"), (429, "3")]


@pytest.mark.parametrize("path", ["/v1/model", "/metrics"])
def test_what_fails_inside_is_a_clean_500_whose_id_is_in_the_log(place: Place, path, caplog):
    app = create_app(place.settings)
    with TestClient(app) as client:
        worker = app.state.worker
        live, worker.live = worker.live, None
        metrics, worker.metrics.page = worker.metrics.page, None
        response = client.get(path, headers={"X-Request-ID": "find-me"})
        worker.live, worker.metrics.page = live, metrics

    assert (response.status_code, response.json()["error"]["code"]) == (500, "internal")
    assert response.headers["X-Request-ID"] == "find-me"
    (told,) = [record for record in caplog.records if record.exc_info]
    assert told.getMessage() == f"GET {path} failed (request find-me)"


def test_an_answer_that_breaks_off_half_way_is_not_followed_by_another(caplog):
    async def half():
        yield b"half"
        raise RuntimeError("torn")

    async def handler(_):
        return StreamingResponse(half())

    with pytest.raises(RuntimeError, match="torn"):
        failing_app(handler).get("/v1/it")


def test_handlers_find_the_id_and_two_requests_do_not_share_their_state():
    seen = []

    async def handler(request):
        seen.append(request.state.request_id)
        request.state.note = seen[-1]
        return JSONResponse({})

    with failing_app(handler) as client:
        for identifier in ("a", "b"):
            client.get("/v1/it", headers={"X-Request-ID": identifier})

    assert seen == ["a", "b"]


def test_answers_about_images_are_not_stored_and_pages_may_do_nothing(client):
    answer, metrics = client.get("/v1/model").headers, client.get("/metrics").headers
    pages = [client.get(path) for path in ("/", "/docs")]

    assert answer["Cache-Control"] == client.get("/v2").headers["Cache-Control"] == "no-store"
    assert "Cache-Control" not in metrics
    for page in pages:
        assert page.status_code == 200
        assert page.headers["X-Frame-Options"] == "DENY"
        assert page.headers["Content-Security-Policy"].startswith("default-src 'none'; ")
        assert page.headers["Referrer-Policy"] == "no-referrer"
    assert "Content-Security-Policy" not in answer


@pytest.mark.parametrize("path", ["/", "/docs"])
def test_the_pages_ask_for_nothing_that_their_policy_forbids(client, path):
    page = client.get(path).text

    assert "<style>" in page  # the one thing that is allowed
    assert not re.findall(r"<(?:script|img|iframe|form|base|object|embed|link|svg|video)\b", page)
    assert not re.findall(r"\bon[a-z]+=|javascript:|@import|url\(", page)


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["bentoml", "uvicorn"])
def test_the_envelope_is_there_under_both_servers(place: Place, runtime):
    place.champion()
    place.serve(runtime)

    response = httpx.get(f"{place.url}/v1/model", headers={"X-Request-ID": "over the wire"}, timeout=10)

    assert response.headers["X-Request-ID"] == "over the wire"
    assert response.headers["Cache-Control"] == "no-store"
    assert len(response.headers.get_list("X-Request-ID")) == 1
