"""The interface's description against the interface: every route is in it, and every answer is as it says."""

import base64
import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import httpx
import jsonschema
import pytest
from starlette.testclient import TestClient

from service import openapi
from service.docs_page import docs_page
from service.http import create_app
from tests.service.cards import Place, new_place, picture, wait_for

LIGHT = picture()
JPEG = {"Content-Type": "image/jpeg"}
IMAGE = {"name": "image", "datatype": "BYTES", "shape": [1], "data": [base64.b64encode(LIGHT).decode()]}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestClient, Place]]:
    place = new_place(tmp_path_factory.mktemp("described"))
    place.champion()
    with TestClient(create_app(place.settings)) as client:
        wait_for(lambda: client.get("/readyz").status_code == 200)
        yield client, place


@pytest.fixture(scope="module")
def described(served) -> dict[str, Any]:
    return served[0].get("/openapi.json").json()


def check(described: dict[str, Any], route: str, response: httpx.Response) -> None:
    """The response has a status, a content type, headers and a body that the description gives for its route."""
    operation = described["paths"][route][response.request.method.lower()]
    assert str(response.status_code) in operation["responses"], response.text
    told = operation["responses"][str(response.status_code)]
    kind = response.headers["content-type"].partition(";")[0]
    assert kind in told["content"]
    for name, reference in told["headers"].items():
        header = described["components"]["headers"].get(name, reference)
        assert name in response.headers or not header.get("required"), f"{name} is missing"
    if kind == "application/json":
        schema = {**told["content"][kind]["schema"], "components": described["components"]}
        jsonschema.Draft202012Validator(schema).validate(response.json())


def test_every_route_is_described_and_every_description_is_a_route(served, described):
    routes = {(route.path, method) for route in served[0].app.routes for method in route.methods - {"HEAD"}}

    assert {(path, method.upper()) for path, methods in described["paths"].items() for method in methods} == routes


def test_the_document_is_valid_openapi_for_those_who_read_it(described):
    validator = pytest.importorskip("openapi_spec_validator", reason="a development dependency")

    validator.validate(described)


def test_no_part_of_the_document_is_left_over_and_none_is_missing(described):
    text = json.dumps(described)
    used = {tuple(found.split("/")) for found in re.findall(r"#/components/(\w+/[\w-]+)", text)}

    there = {(kind, name) for kind in ("schemas", "headers", "parameters") for name in described["components"][kind]}

    assert used == there


REQUESTS: list[tuple[str, str, str, dict[str, Any], int]] = [
    ("POST", "/v1/predict", "", {"content": LIGHT, "headers": JPEG}, 200),
    ("POST", "/v1/predict", "", {"files": [("image", LIGHT), ("image", b"no image")]}, 200),
    ("POST", "/v1/predict", "", {"content": b"", "headers": JPEG}, 400),
    ("POST", "/v1/predict", "", {"content": bytes(2_000_001), "headers": JPEG}, 413),
    ("POST", "/v1/predict", "", {"content": b"{}", "headers": {"Content-Type": "application/json"}}, 415),
    ("POST", "/v1/predict", "", {"content": b"no image", "headers": JPEG}, 422),
    ("POST", "/v1/feedback", "", {"json": {"id": "a", "label": "dark", "labelled_by": None}}, 200),
    ("POST", "/v1/feedback", "", {"json": [{"id": "a", "label": "green"}]}, 202),
    ("POST", "/v1/feedback", "", {"json": {}}, 400),
    ("GET", "/v1/model", "", {}, 200),
    ("POST", "/v1/retrain", "", {"json": {"reason": "a new camera"}}, 202),
    ("POST", "/v1/retrain", "", {"json": {"reason": ""}}, 400),
    ("POST", "/v1/retrain", "", {"content": bytes(20_000)}, 413),
    ("POST", "/v1/retrain", "", {"content": b"{}", "headers": {"Content-Type": "text/plain"}}, 415),
    ("GET", "/v1/retrain/{request}", "/v1/retrain/nobody", {}, 404),
    ("GET", "/livez", "", {}, 200),
    ("GET", "/readyz", "", {}, 200),
    ("GET", "/metrics", "", {}, 200),
    ("GET", "/openapi.json", "", {}, 200),
    ("GET", "/docs", "", {}, 200),
    ("GET", "/", "", {}, 200),
    ("GET", "/v2", "", {}, 200),
    ("GET", "/v2/health/live", "", {}, 200),
    ("GET", "/v2/health/ready", "", {}, 200),
    ("GET", "/v2/models/{name}", "/v2/models/cards", {}, 200),
    ("GET", "/v2/models/{name}", "/v2/models/cats", {}, 404),
    ("GET", "/v2/models/{name}/ready", "/v2/models/cards/ready", {}, 200),
    ("POST", "/v2/models/{name}/infer", "/v2/models/cards/infer", {"json": {"inputs": [IMAGE]}}, 200),
    ("POST", "/v2/models/{name}/infer", "/v2/models/cards/infer",
     {"json": {"inputs": [IMAGE], "id": "7", "parameters": {"binary_data_output": True}}}, 200),
    ("POST", "/v2/models/{name}/infer", "/v2/models/cards/infer", {"json": {}}, 400),
    ("POST", "/v2/models/{name}/versions/{version}/infer", "/v2/models/cards/versions/8/infer", {"json": {}}, 404),
    ("GET", "/v2/models/{name}/versions/{version}", "/v2/models/cards/versions/1", {}, 200),
]  # fmt: skip


@pytest.mark.parametrize(("method", "route", "path", "parts", "status"), REQUESTS)
def test_answers_are_as_the_document_says(served, described, method, route, path, parts, status):
    response = served[0].request(method, path or route, **parts)

    assert response.status_code == status
    check(described, route, response)


def test_refusals_for_want_of_a_token_or_a_model_are_as_the_document_says(place, described):
    locked = replace(place.settings, serve=replace(place.settings.serve, token="open sesame"))
    with TestClient(create_app(locked)) as client:
        key = {"Authorization": "Bearer open sesame"}
        for path, route in (("/v1/model",) * 2, ("/v2/models/cards", "/v2/models/{name}")):
            for headers, status in ((None, 401), (key, 503)):
                response = client.get(path, headers=headers)
                assert response.status_code == status
                check(described, route, response)


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("curl") is None, reason="the examples are for curl")
def test_the_examples_of_the_document_work_as_they_stand(place, described, tmp_path):
    place.champion()
    place.serve(runtime="uvicorn")
    (tmp_path / "photo.jpg").write_bytes(LIGHT)
    examples = [each["x-example"] for methods in described["paths"].values() for each in methods.values()
                if "x-example" in each]  # fmt: skip

    for example in examples:
        line = example.replace("http://localhost:3000", place.url).replace("<name>", "cards")
        ran = subprocess.run(["sh", "-c", f"{line} --fail-with-body --silent"], cwd=tmp_path, capture_output=True,
                             text=True, check=False)  # fmt: skip
        assert ran.returncode == 0, f"{line}\n{ran.stdout}{ran.stderr}"

    assert len(examples) >= 4


def test_the_page_has_every_operation_every_record_and_links_that_lead_somewhere(described):
    page = docs_page(described)

    places = set(re.findall(r"id='([^']+)'", page))
    links = set(re.findall(r"href='#([^']+)'", page))
    assert links <= places
    assert set(described["components"]["schemas"]) <= places
    assert page.count("<h3 ") == sum(map(len, described["paths"].values()))
    assert "`" not in page


def test_schemas_in_few_words_are_escaped():
    hostile = openapi.document("<script>alert(1)</script>")

    assert "<script" not in docs_page(hostile)
