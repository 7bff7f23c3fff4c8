"""The Open Inference Protocol: by a client made for it, and by hand for what that client cannot say."""

import base64
import json
import struct
from collections.abc import Iterator
from typing import Any

import httpx
import numpy as np
import pytest
from starlette.testclient import TestClient

from models import rollouts
from models.runtime import Runtime
from service.client import Client, Feedback
from service.errors import Refusal
from service.http import create_app
from service.inference_request import read_inference
from tests.service.cards import CLASSES, Place, new_place, picture, wait_for

LIGHT, DARK, RED = picture((250, 250, 250)), picture((5, 5, 5)), picture((250, 0, 0))
INFER = "/v2/models/cards/infer"
HEADER = "Inference-Header-Content-Length"


def text_of(*images: bytes, **more: Any) -> dict[str, Any]:
    data = [base64.b64encode(image).decode() for image in images]
    return {"inputs": [{"name": "image", "datatype": "BYTES", "shape": [len(images)], "data": data}], **more}


def binary_of(*images: bytes, **more: Any) -> tuple[bytes, dict[str, str]]:
    packed = b"".join(struct.pack("<I", len(image)) + image for image in images)
    tensor = {"name": "image", "datatype": "BYTES", "shape": [len(images)],
              "parameters": {"binary_data_size": len(packed)}}  # fmt: skip
    text = json.dumps({"inputs": [tensor], **more}).encode()
    return text + packed, {HEADER: str(len(text)), "Content-Type": "application/octet-stream"}


def outputs_of(response: httpx.Response) -> dict[str, Any]:
    assert response.status_code == 200, response.text
    return {output["name"]: output["data"] for output in response.json()["outputs"]}


def error_of(response: httpx.Response) -> tuple[int, str]:
    assert set(response.json()) == {"error"}
    assert isinstance(response.json()["error"], str)
    return response.status_code, response.headers["X-Error-Code"]


@pytest.fixture(scope="module")
def cards(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[TestClient, Place]]:
    place = new_place(tmp_path_factory.mktemp("protocol"))
    place.champion()
    with TestClient(create_app(place.settings)) as client:
        wait_for(lambda: client.get("/v2/health/ready").status_code == 200)
        yield client, place


def test_the_server_and_the_model_say_what_they_are(cards):
    http, _ = cards

    assert http.get("/v2").json()["extensions"] == ["binary_tensor_data"]
    assert http.get("/v2/health/live").json() == {"live": True}
    described = http.get("/v2/models/cards").json()
    assert http.get("/v2/models/cards/versions/1").json() == described
    assert (described["name"], described["versions"], described["platform"]) == ("cards", ["1"], "onnxruntime_onnx")
    assert [(each["name"], each["datatype"], each["shape"]) for each in described["inputs"]] == [
        ("image", "BYTES", [-1])
    ]
    assert [(each["name"], each["datatype"], each["shape"]) for each in described["outputs"]] == [
        ("label", "BYTES", [-1]), ("confidence", "FP32", [-1]), ("probabilities", "FP32", [-1, 3]),
        ("id", "BYTES", [-1]), ("version", "INT64", [-1]),
    ]  # fmt: skip
    assert described["outputs"][2]["parameters"]["classes"] == list(CLASSES)


def test_images_as_base64_texts_are_answered_in_order_and_logged_with_the_parameters_as_metadata(cards):
    http, place = cards
    parameters = {"camera": "A", "lens": 2, "content_type": "base64", "timeout": 9}

    response = http.post(INFER, json=text_of(LIGHT, RED, id="request-7", parameters=parameters))

    outputs = outputs_of(response)
    facts = {name: value for name, value in response.json().items() if name != "outputs"}
    assert facts == {"model_name": "cards", "model_version": "1", "id": "request-7"}
    assert (outputs["label"], outputs["version"]) == (["light", "red"], [1, 1])
    table = np.array(outputs["probabilities"]).reshape(2, 3)
    assert table.sum(axis=1) == pytest.approx([1, 1], abs=1e-5)
    assert table.max(axis=1) == pytest.approx(outputs["confidence"])
    logged = {row.id: row for row in place.spooled()[0]}
    assert [logged[each].label for each in outputs["id"]] == ["light", "red"]
    assert {tuple(logged[each].metadata.items()) for each in outputs["id"]} == {(("camera", "A"), ("lens", "2"))}


def test_line_breaks_and_a_second_dimension_are_what_other_tools_make(cards):
    http, _ = cards
    broken = base64.encodebytes(LIGHT).decode()
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1, 1], "data": [[broken]]}

    assert outputs_of(http.post(INFER, json={"inputs": [tensor]}))["label"] == ["light"]


def test_only_the_outputs_that_are_asked_for_are_sent_each_in_its_form(cards):
    http, _ = cards
    asked = [{"name": "confidence", "parameters": {"binary_data": True}}, {"name": "label"}]
    body, headers = binary_of(DARK, outputs=asked)

    response = http.post(INFER, content=body, headers=headers)

    length = int(response.headers[HEADER])
    confidence, label = json.loads(response.content[:length])["outputs"]
    assert confidence["parameters"] == {"binary_data_size": 4}
    assert label["data"] == ["dark"]
    (value,) = struct.unpack("<f", response.content[length:])
    assert 0.9 < value <= 1


def test_a_body_that_is_one_image_and_nothing_else_is_answered_too(cards):
    http, _ = cards

    assert outputs_of(http.post(INFER, content=RED, headers={HEADER: "0"}))["label"] == ["red"]


def test_one_bad_image_refuses_the_request_and_is_named_by_its_place(cards):
    http, _ = cards

    response = http.post(INFER, json=text_of(LIGHT, b"no image at all", DARK))

    assert error_of(response) == (422, "not_an_image")
    assert response.json()["error"].startswith("image 1: ")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v2/models/cats", (404, "no_such_model")),
        ("/v2/models/cats/ready", (404, "no_such_model")),
        ("/v2/models/cards/versions/2", (404, "no_such_version")),
        ("/v2/models/cards/versions/01/ready", (404, "no_such_version")),
        ("/v2/models/cards/versions/x", (404, "no_such_version")),
        ("/v2/models", (404, "not_found")),
        ("/v2/models/cards/infer", (405, "method_not_allowed")),
    ],
)
def test_an_address_that_leads_nowhere_says_so_in_the_protocols_form(cards, path, expected):
    http, _ = cards

    assert error_of(http.get(path)) == expected


def test_a_version_that_does_not_answer_is_refused_before_the_body_is_looked_at(cards):
    http, _ = cards

    response = http.post("/v2/models/cards/versions/7/infer", content=b"anything")

    assert error_of(response) == (404, "no_such_version")
    assert "version '7' of cards does not answer; those that do: 1." in response.json()["error"]


@pytest.mark.parametrize(
    ("headers", "content", "expected"),
    [
        ({"Content-Type": "text/plain"}, b"{}", (415, "unsupported_media_type")),
        ({"Content-Encoding": "gzip"}, b"{}", (415, "unsupported_encoding")),
        ({HEADER: "-1"}, b"{}", (400, "bad_inference_request")),
        ({HEADER: "9" * 99}, b"{}", (400, "bad_inference_request")),
        ({HEADER: "3"}, b"{}", (400, "bad_inference_request")),
        ({HEADER: "0"}, b"", (400, "no_image")),
        ({}, b"[" * 100_000, (400, "bad_inference_request")),
        ({}, bytes(2_000_001), (413, "body_too_large")),
    ],
)
def test_a_request_that_cannot_be_read_is_refused_in_the_protocols_form(cards, headers, content, expected):
    http, _ = cards

    assert error_of(http.post(INFER, content=content, headers=headers)) == expected


GOOD = {"name": "image", "datatype": "BYTES", "shape": [1], "data": ["aGk="]}


@pytest.mark.parametrize(
    ("request_json", "words"),
    [
        ([], "the request should be a JSON object; found []"),
        ({}, "inputs should be a list with one tensor, 'image'"),
        ({"inputs": [GOOD, GOOD]}, "inputs should be a list with one tensor, 'image'"),
        ({"inputs": ["image"]}, 'the input should be a JSON object; found "image"'),
        ({"inputs": [{**GOOD, "name": "x"}]}, "the model has one input, 'image'; found \"x\""),
        ({"inputs": [{**GOOD, "datatype": "UINT8"}]}, 'found "UINT8"'),
        ({"inputs": [{**GOOD, "shape": [2]}]}, "the input has 1 elements, so its shape should be [1]; found [2]"),
        ({"inputs": [{**GOOD, "shape": [10**50] * 9}]}, "its shape should be [1]"),
        ({"inputs": [{**GOOD, "data": "aGk="}]}, "a list of images as base64 texts"),
        ({"inputs": [{**GOOD, "data": [7]}]}, "image 0 should be a base64 text; found 7"),
        ({"inputs": [{**GOOD, "data": ["a*b"]}]}, "image 0 is not base64"),
        ({"inputs": [{**GOOD, "data": ["é"]}]}, "image 0 is not base64"),
        ({"inputs": [{**GOOD, "data": [], "shape": [0]}]}, "the request has no image"),
        ({"inputs": [{**GOOD, "data": ["aGk="] * 257, "shape": [257]}]}, "257 images; send at most 256 at once"),
        ({"inputs": [{**GOOD, "parameters": {"content_type": "pil"}}]}, "content_type should be 'base64'"),
        ({"inputs": [{**GOOD, "parameters": {"binary_data_size": 4}}]}, "an input with binary_data_size has no 'data'"),
        ({"inputs": [GOOD], "id": 7}, "the request's id should be a text"),
        ({"inputs": [GOOD], "parameters": []}, "'parameters' of the request should be a JSON object; found []"),
        ({"inputs": [GOOD], "parameters": {"a": {}}}, "metadata 'a' should be a text or a number"),
        ({"inputs": [GOOD], "parameters": {"binary_data_output": 1}}, "binary_data_output should be true or false"),
        ({"inputs": [GOOD], "outputs": {}}, "outputs should be a list; found {}"),
        ({"inputs": [GOOD], "outputs": [{"name": "logits"}]}, 'the model has no output "logits"; it has label,'),
        ({"inputs": [GOOD], "outputs": [{"name": ["label"]}]}, "the model has no output"),
        ({"inputs": [GOOD], "outputs": [{"name": "label"}] * 2}, "an output is asked for twice"),
        ({"inputs": [GOOD], "outputs": [{"name": "label", "parameters": {"classification": 1}}]}, "is not offered"),
    ],
)  # fmt: skip
def test_a_request_in_json_that_cannot_be_used_says_what_was_expected(request_json, words):
    with pytest.raises(Refusal) as refused:
        read_inference(json.dumps(request_json).encode(), None)

    assert refused.value.status == 400
    assert words in refused.value.message


@pytest.mark.parametrize(
    ("body", "size", "words"),
    [
        (b"", 4, "binary_data_size is 4, but 0 bytes follow"),
        (b"\x00\x00\x00", 3, "end within an element"),
        (b"\x05\x00\x00\x00abcd", 8, "end within an element"),
        (b"\xff\xff\xff\xffabcd", 8, "end within an element"),
        (b"\x01", True, "binary_data_size is true"),
        (b"\x00\x00\x00\x00abcd", "8", 'binary_data_size is "8"'),
    ],
)  # fmt: skip
def test_bytes_after_the_json_have_to_be_what_it_announces(body, size, words):
    tensor = {"name": "image", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": size}}
    text = json.dumps({"inputs": [tensor]}).encode()

    with pytest.raises(Refusal) as refused:
        read_inference(text + body, len(text))

    assert refused.value.status == 400
    assert words in refused.value.message


def test_bytes_that_no_input_announces_are_refused():
    text = json.dumps({"inputs": [GOOD]}).encode()

    with pytest.raises(Refusal, match="4 bytes follow the JSON, and no input has a binary_data_size"):
        read_inference(text + b"abcd", len(text))


def test_without_a_model_the_server_lives_and_nothing_is_ready(place):
    with TestClient(create_app(place.settings)) as http:
        assert http.get("/v2").status_code == http.get("/v2/health/live").status_code == 200
        for path in ("/v2/health/ready", "/v2/models/cards", "/v2/models/cards/ready"):
            assert error_of(http.get(path)) == (503, "no_model")
        refused = http.post(INFER, json=text_of(LIGHT))
        assert error_of(refused) == (503, "no_model")
        assert refused.headers["Retry-After"] == "1"


def test_what_fails_inside_is_told_in_the_protocols_form_too(place, monkeypatch):
    place.champion()
    with TestClient(create_app(place.settings), raise_server_exceptions=False) as http:
        wait_for(lambda: http.get("/v2/health/ready").status_code == 200)
        worker = http.app.state.worker
        monkeypatch.setattr(worker.batcher, "submit", None)

        assert error_of(http.post(INFER, json=text_of(LIGHT))) == (500, "internal")


def test_a_canary_can_be_asked_by_its_version_and_so_can_the_champion_beside_it(place):
    place.champion()
    canary = place.version(sharpness=2.0)
    rollouts.start(place.registry.engine, "cards", rollouts.CANARY, canary, share=0.2, actor="test", reason="test")
    with TestClient(create_app(place.settings)) as http:
        wait_for(lambda: http.get(f"/v2/models/cards/versions/{canary}/ready").status_code == 200)
        asked = text_of(*[LIGHT] * 20)

        pinned = {version: outputs_of(http.post(f"/v2/models/cards/versions/{version}/infer", json=asked))
                  for version in (1, canary)}  # fmt: skip
        anybody = http.post(INFER, json=text_of(*[LIGHT] * 100))

    assert {version: set(outputs["version"]) for version, outputs in pinned.items()} == {1: {1}, 2: {2}}
    assert pinned[1]["confidence"][0] > pinned[2]["confidence"][0]
    assert set(outputs_of(anybody)["version"]) == {1, 2}
    assert "model_version" not in anybody.json()


def test_the_champion_can_be_asked_by_its_version_while_a_canary_answers_everybody_else(place):
    place.champion()
    canary = place.version(sharpness=2.0)
    rollouts.start(place.registry.engine, "cards", rollouts.CANARY, canary, share=1.0, actor="test", reason="test")
    with TestClient(create_app(place.settings)) as http:
        wait_for(lambda: http.get(f"/v2/models/cards/versions/{canary}/ready").status_code == 200)

        pinned = http.post("/v2/models/cards/versions/1/infer", json=text_of(LIGHT))
        anybody = http.post(INFER, json=text_of(LIGHT))

    assert [outputs_of(response)["version"] for response in (pinned, anybody)] == [[1], [2]]


def test_who_insists_on_a_canary_that_fails_is_not_answered_by_the_champion(place, monkeypatch):
    place.champion()
    canary = place.version(sharpness=2.0)
    rollouts.start(place.registry.engine, "cards", rollouts.CANARY, canary, share=1.0, actor="test", reason="test")
    with TestClient(create_app(place.settings)) as http:
        wait_for(lambda: http.get(f"/v2/models/cards/versions/{canary}/ready").status_code == 200)
        run = Runtime.run

        def broken(self, batch):
            if self.artifact.onnx_sha256 == place.registry.version(canary).onnx_sha256:
                raise RuntimeError("out of memory")
            return run(self, batch)

        monkeypatch.setattr(Runtime, "run", broken)

        pinned = http.post(f"/v2/models/cards/versions/{canary}/infer", json=text_of(LIGHT))
        anybody = http.post(INFER, json=text_of(LIGHT))

    assert error_of(pinned) == (503, "version_changed")
    assert outputs_of(anybody)["version"] == [1]


def test_counters_know_the_route_and_not_what_a_caller_makes_up(cards):
    http, _ = cards
    http.post("/v2/models/made-up/infer", json={})
    http.post("/v2/models/cards/versions/1/infer", json=text_of(LIGHT))

    page = http.get("/metrics").text

    assert 'kedge_http_requests_total{route="/v2/models/{name}/infer",status="404"}' in page
    assert 'kedge_http_requests_total{route="/v2/models/{name}/versions/{version}/infer",status="200"}' in page
    assert "made-up" not in page


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["uvicorn", "bentoml"])
def test_a_client_made_for_this_protocol_is_served_by_the_real_process(place, runtime):
    triton = pytest.importorskip("tritonclient.http", reason="tritonclient[http] is a development dependency")
    place.champion()
    place.serve(runtime=runtime)
    images = np.array([LIGHT, DARK, RED], dtype=np.object_)
    binary = triton.InferInput("image", [3], "BYTES")
    binary.set_data_from_numpy(images)
    texts = triton.InferInput("image", [3], "BYTES")
    texts.set_data_from_numpy(np.array([base64.b64encode(image) for image in images], np.object_), binary_data=False)

    with triton.InferenceServerClient(place.url.removeprefix("http://"), concurrency=4) as client:
        alive = client.is_server_live(), client.is_server_ready(), client.is_model_ready("cards")
        versions = client.is_model_ready("cards", "1"), client.is_model_ready("cards", "2")
        described = client.get_model_metadata("cards")
        packed = client.infer("cards", [binary], request_id="mine", parameters={"camera": "A"})
        wanted = [triton.InferRequestedOutput(name, binary_data=name == "id") for name in ("label", "id")]
        plain = client.infer("cards", [texts], model_version="1", outputs=wanted)
        waiting = [client.async_infer("cards", [binary]) for _ in range(8)]
        together = [each.get_result().as_numpy("label").tolist() for each in waiting]

    labels = [b"light", b"dark", b"red"]
    assert (alive, versions) == ((True, True, True), (True, False))
    assert described["platform"] == "onnxruntime_onnx"
    assert packed.get_response()["id"] == "mine"
    assert packed.as_numpy("label").tolist() == labels
    assert packed.as_numpy("probabilities").shape == (3, 3)
    assert packed.as_numpy("probabilities").max(axis=1).tolist() == packed.as_numpy("confidence").tolist()
    assert packed.as_numpy("version").tolist() == [1, 1, 1]
    assert plain.as_numpy("label").tolist() == [label.decode() for label in labels]
    assert together == [labels] * 8
    # The prediction's id leads from the protocol's answer to our feedback.
    with Client(place.url) as ours:
        assert ours.feedback([Feedback(packed.as_numpy("id")[0].decode(), "light")]) == []
    logged = {row.id: row for row in place.spooled()[0]}
    assert logged[packed.as_numpy("id")[2].decode()].metadata == {"camera": "A"}
    assert logged[plain.as_numpy("id")[1].decode()].label == "dark"


@pytest.mark.slow
def test_that_client_understands_our_refusals(place):
    triton = pytest.importorskip("tritonclient.http", reason="tritonclient[http] is a development dependency")
    place.champion()
    place.serve(runtime="uvicorn")

    def asked(image: bytes, name: str = "cards", **options: Any) -> tuple[str, str]:
        tensor = triton.InferInput("image", [2], "BYTES")
        tensor.set_data_from_numpy(np.array([LIGHT, image], dtype=np.object_))
        client = triton.InferenceServerClient(place.url.removeprefix("http://"))
        with client, pytest.raises(triton.InferenceServerException) as refused:
            client.infer(name, [tensor], **options)
        return refused.value.status(), refused.value.message()

    assert asked(b"nonsense") == ("422", "image 1: the 8 bytes are no image; send JPEG, PNG, WebP, GIF, BMP or TIFF")
    assert asked(LIGHT, "cats") == ("404", "there is no model 'cats' here; there is 'cards'")
    assert asked(LIGHT, model_version="9")[0] == "404"
    status, words = asked(LIGHT, request_compression_algorithm="gzip")
    assert (status, words[:33]) == ("415", "the body is packed with 'gzip'; i")
