import io
import json
import os
import subprocess
import sys
import threading
import zlib
from base64 import b64encode
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from starlette.testclient import TestClient

from service.http import create_app
from service.metrics import Metrics
from service.segments import frames_of
from tests.service.cards import CLASSES, Place, new_place, picture, wait_for

LIGHT, DARK, RED = picture((250, 250, 250)), picture((5, 5, 5)), picture((250, 0, 0))
JPEG = {"Content-Type": "image/jpeg"}


@pytest.fixture
def client(place: Place) -> Iterator[TestClient]:
    place.champion()
    with TestClient(create_app(place.settings)) as client:
        wait_for(lambda: client.get("/readyz").status_code == 200)
        yield client


@pytest.fixture(scope="module")
def unharmed(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TestClient]:
    """One service for many requests that must leave nothing behind, which is looked at in the end."""
    place = new_place(tmp_path_factory.mktemp("unharmed"))
    place.champion()
    with TestClient(create_app(place.settings)) as client:
        wait_for(lambda: client.get("/readyz").status_code == 200)
        yield client
        assert client.post("/v1/predict", content=LIGHT, headers=JPEG).status_code == 200
    predictions, labels = place.spooled()
    assert (len(predictions), labels) == (1, [])


def error_of(response) -> tuple[int, str]:
    assert set(response.json()) == {"error"}
    assert response.json()["error"]["message"]
    return response.status_code, response.json()["error"]["code"]


def black_png(width: int, height: int) -> bytes:
    """A tiny file that decodes into a huge picture."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return len(data).to_bytes(4) + kind + data + zlib.crc32(kind + data).to_bytes(4)

    header = width.to_bytes(4) + height.to_bytes(4) + bytes([8, 0, 0, 0, 0])
    packer = zlib.compressobj(9)
    rows = b"".join(packer.compress(bytes(width + 1)) for _ in range(height)) + packer.flush()
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


def test_a_raw_image_is_answered_and_logged(client, place):
    answer = client.post("/v1/predict?camera=A&id=my-1", content=RED, headers=JPEG).json()

    assert (answer["id"], answer["model"], answer["label"]) == ("my-1", "cards:1", "red")
    assert list(answer["probabilities"]) == list(CLASSES)
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-5)
    assert answer["confidence"] == max(answer["probabilities"].values())
    ((logged,), _) = place.spooled()
    assert (logged.id, logged.label, logged.metadata, logged.image_kept) == ("my-1", "red", {"camera": "A"}, True)
    assert (logged.image_width, logged.image_height, logged.image_format) == (40, 40, "jpeg")


def test_a_picture_sent_again_is_kept_once_in_each_segment_that_names_it(client, place):
    worker = client.app.state.worker
    for _ in range(2):
        for identifier in ("a", "b"):
            client.post("/v1/predict", params={"id": identifier}, content=RED, headers=JPEG)
        worker.spool.seal()

    kinds = [
        "".join(frame.kind.decode() for frame in frames_of(path)) for path in sorted(place.spool.glob("*/*.sealed"))
    ]

    # Somebody who is forgotten takes the bytes of his segment along, and a neighbour's in another must stay.
    assert "".join(kinds) == "ippipp"


def test_a_form_with_several_images_is_answered_in_order_with_an_error_for_the_bad_one(client, place):
    files = [("image", LIGHT), ("image", b"no image at all"), ("image", DARK)]

    response = client.post("/v1/predict", files=files, data={"metadata": '{"camera": "B", "lens": 2}'})

    first, second, third = response.json()["predictions"]
    assert response.status_code == 200
    assert (first["label"], second["error"]["code"], third["label"]) == ("light", "not_an_image", "dark")
    assert set(second) == {"id", "error"}
    predictions, _ = place.spooled()
    assert [row.metadata for row in predictions] == [{"camera": "B", "lens": "2"}] * 2


def test_a_form_with_one_image_is_answered_like_a_raw_one(client):
    answer = client.post("/v1/predict", files={"image": LIGHT}, data={"id": "mine"}).json()

    assert (answer["id"], answer["label"]) == ("mine", "light")


def test_a_large_image_in_a_form_needs_no_room_on_a_disk(client, monkeypatch):
    noise = np.random.default_rng(0).integers(0, 255, (700, 700, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).save(buffer, "PNG")
    monkeypatch.setattr("tempfile.tempdir", "/nowhere")

    answer = client.post("/v1/predict", files={"image": buffer.getvalue()})

    assert len(buffer.getvalue()) > 1_100_000
    assert answer.status_code == 200, answer.text


def test_headers_that_take_their_time_keep_nobody_else_waiting(client, monkeypatch):
    begun, go_on = threading.Event(), threading.Event()

    def slow(_):
        begun.set()
        return int(not go_on.wait(10))

    monkeypatch.setattr("service.questions.pixels_of", slow)
    with ThreadPoolExecutor(1) as pool:
        form = pool.submit(client.post, "/v1/predict", files=[("image", RED)] * 5)
        assert begun.wait(10)
        alive = client.get("/livez").status_code
        slowly = not form.done()
        go_on.set()

    assert (alive, slowly, form.result().status_code) == (200, True, 200)


def test_each_image_of_a_form_may_have_its_own_id_and_metadata(client, place):
    data = {"id": ["a", "b"], "metadata": '[{"camera": "A"}, {"camera": "B"}]'}

    client.post("/v1/predict", files=[("image", LIGHT), ("image", DARK)], data=data)

    predictions, _ = place.spooled()
    assert [(row.id, row.metadata["camera"]) for row in predictions] == [("a", "A"), ("b", "B")]


def test_a_repeated_id_is_answered_anew_and_marked(client, place):
    for image in (LIGHT, DARK):
        client.post("/v1/predict?id=same", content=image, headers=JPEG)

    predictions, _ = place.spooled()
    assert [(row.label, row.repeated) for row in predictions] == [("light", False), ("dark", True)]


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"hello", (422, "not_an_image")),
        (LIGHT[:300], (422, "truncated_image")),
        (b"%PDF-1.7 and so on", (415, "unsupported_format")),
        (b"", (400, "no_image")),
        (black_png(10_000, 10_000), (413, "too_many_pixels")),
        (bytes(2_000_001), (413, "body_too_large")),
    ],
    ids=["no image", "truncated", "another format", "empty", "100 megapixels", "too large"],
)
def test_what_is_no_image_gets_a_clear_answer_and_no_record(unharmed, body, expected):
    assert error_of(unharmed.post("/v1/predict", content=body, headers=JPEG)) == expected


def test_the_declared_type_of_an_image_is_not_believed(client):
    buffer = io.BytesIO()
    Image.new("RGBA", (9, 9), (0, 0, 0, 255)).save(buffer, "PNG")

    assert client.post("/v1/predict", content=buffer.getvalue(), headers=JPEG).json()["label"] == "dark"


@pytest.mark.parametrize(
    ("request_parts", "expected"),
    [
        ({"content": LIGHT, "headers": {"Content-Type": "text/plain"}}, (415, "unsupported_media_type")),
        ({"content": LIGHT, "headers": JPEG, "params": {"id": "x" * 129}}, (400, "bad_id")),
        ({"content": LIGHT, "headers": JPEG, "params": {"camera": "x" * 257}}, (400, "bad_metadata")),
        ({"content": LIGHT, "headers": JPEG, "params": [("a", "1"), ("a", "2")]}, (400, "bad_metadata")),
        ({"files": {"image": LIGHT}, "data": {"metadata": "{"}}, (400, "bad_metadata")),
        ({"files": {"image": LIGHT}, "data": {"metadata": '{"a": {"b": 1}}'}}, (400, "bad_metadata")),
        ({"files": {"image": LIGHT}, "data": {"metadata": '"a"'}}, (400, "bad_metadata")),
        ({"files": {"image": LIGHT}, "data": {"metadata": '{"\\ud800": null}'}}, (400, "bad_metadata")),
        ({"files": {"image": LIGHT}, "data": {"metadata": "[{}, {}]"}}, (400, "bad_metadata")),
        ({"files": {"image": LIGHT}, "data": {"metta": "{}"}}, (400, "bad_form")),
        ({"files": {"picture": LIGHT}}, (400, "bad_form")),
        ({"files": {"image": LIGHT}, "data": {"id": ["a", "b"]}}, (400, "bad_id")),
        ({"files": {"image": LIGHT}, "params": {"camera": "A"}}, (400, "bad_form")),
        ({"content": b"--x", "headers": {"Content-Type": "multipart/form-data"}}, (400, "bad_form")),
        ({"content": b"nonsense", "headers": {"Content-Type": "multipart/form-data; boundary=x"}}, (400, "bad_form")),
    ],
)
def test_a_request_that_cannot_be_used_says_why_and_leaves_no_record(unharmed, request_parts, expected):
    assert error_of(unharmed.post("/v1/predict", **request_parts)) == expected


@pytest.mark.parametrize(
    ("path", "kind", "begun"),
    [
        ("/v1/predict", "image/jpeg", LIGHT[:100]),
        ("/v1/predict", "multipart/form-data; boundary=x", b"--x\r\n"),
        ("/v1/feedback", "application/json", b"{"),
        ("/v2/models/cards/infer", "application/json", b"{"),
    ],
)
def test_a_caller_who_hangs_up_within_the_body_is_no_fault_of_the_service(unharmed, caplog, path, kind, begun):
    told = [{"type": "http.request", "body": begun, "more_body": True}, {"type": "http.disconnect"}]
    statuses = []

    async def receive():
        return told.pop(0)

    async def send(message):
        statuses.append(message.get("status"))

    scope = {
        "type": "http", "method": "POST", "path": path, "query_string": b"", "root_path": "", "http_version": "1.1",
        "scheme": "http", "server": ("127.0.0.1", 80), "headers": [(b"content-type", kind.encode())],
    }  # fmt: skip
    unharmed.portal.call(unharmed.app, scope, receive, send)

    assert statuses[0] == 400
    assert caplog.records == []


def test_two_workers_may_find_the_same_dead_one_at_once(tmp_path, monkeypatch):
    left_behind = tmp_path / "gauge_livesum_99999999.db"
    left_behind.touch()

    def overtaken(process, folder):
        left_behind.unlink()  # by the other one, after this one had listed it
        raise FileNotFoundError(left_behind)

    monkeypatch.setenv("PROMETHEUS_MULTIPROC_DIR", str(tmp_path))
    monkeypatch.setattr("service.metrics.mark_process_dead", overtaken)

    assert b"kedge_spool_segments 0.0" in Metrics(tmp_path / "spool", []).page()


def test_counters_have_their_room_on_the_disk_before_anything_is_counted(tmp_path):
    counting = (
        "from pathlib import Path\n"
        "from service.metrics import _STATUSES, Metrics\n"
        "routes = [f'/v2/models/{{name}}/a-route-{number}' for number in range(20)]\n"
        "metrics = Metrics(Path('spool'), routes)\n"
        "for route in routes:\n"
        "    for status in _STATUSES:\n"
        "        metrics.request(route, int(status), 0.1)\n"
    )
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    subprocess.run([sys.executable, "-c", counting], env=environment, check=True)

    facts = [path.stat() for path in tmp_path.glob("*.db")]

    # The files are mapped: on a full disk, a page without a block of its own would be the end of the worker.
    assert [one.st_size for one in facts] == [1 << 17] * 5
    assert all(one.st_blocks * 512 >= one.st_size for one in facts)


def test_labels_are_kept_one_or_many(client, place):
    one = client.post("/v1/feedback", json={"id": "a", "label": "dark", "labelled_by": "ada"})
    many = client.post("/v1/feedback", json=[{"id": "b", "label": "red"}, {"id": "a", "label": "light"}])

    assert (one.status_code, one.json()) == (200, {"kept": 1, "notes": []})
    assert many.json()["kept"] == 2
    _, labels = place.spooled()
    assert [(row.id, row.label, row.labelled_by) for row in labels] == [
        ("a", "dark", "ada"), ("b", "red", ""), ("a", "light", "")
    ]  # fmt: skip
    assert [row.sequence for row in labels] == sorted({row.sequence for row in labels})


def test_a_label_of_an_unknown_class_is_kept_with_a_note(client, place):
    response = client.post("/v1/feedback", json=[{"id": "a", "label": "green"}, {"id": "b", "label": "red"}])

    assert response.status_code == 202
    assert response.json()["notes"] == [
        {"id": "a", "code": "unknown_class",
         "message": "the model has no class 'green'; the label is kept until it has one"}
    ]  # fmt: skip
    assert [row.label for row in place.spooled()[1]] == ["green", "red"]


@pytest.mark.parametrize(
    "body",
    [b"{", b"[]", b"7", b'{"id": "a"}', b'{"id": 7, "label": "b"}', b'{"id": "", "label": "b"}',
     b'{"id": "a", "label": "b", "lable": "c"}', b'{"id": "a", "label": "b", "labelled_by": {}}',
     b'[{"id": "a", "label": "b"}, 3]', b"[" * 100_000, b'"\\ud800"'],
)  # fmt: skip
def test_feedback_that_cannot_be_used_is_refused_as_a_whole(unharmed, body):
    response = unharmed.post("/v1/feedback", content=body, headers={"Content-Type": "application/json"})

    assert error_of(response) == (400, "bad_feedback")


def test_the_model_tells_what_it_is(unharmed):
    told = unharmed.get("/v1/model").json()

    assert (told["model"], told["version"], told["classes"]) == ("cards:1", 1, list(CLASSES))
    assert told["input"]["image_size"] == 16
    assert told["since"].endswith("+00:00")
    assert told["error"] is told["canary"] is told["shadow"] is None


def test_unknown_addresses_and_methods_are_answered_as_everything_else(unharmed):
    assert error_of(unharmed.get("/nope")) == (404, "not_found")
    assert error_of(unharmed.get("/v1/predict")) == (405, "method_not_allowed")


@pytest.mark.parametrize("page", ["/", "/docs"])
def test_the_pages_load_nothing_from_elsewhere(unharmed, page):
    text = unharmed.get(page).text

    assert "<h1>Kedge: cards</h1>" in text
    assert "<script" not in text
    assert "src=" not in text
    assert "https://" not in text


def test_of_images_that_are_too_much_together_the_largest_are_refused_and_no_neighbour_is_harmed(place):
    place.champion()
    settings = replace(place.settings, serve=replace(place.settings.serve, most_megapixels=0.01))
    large, small = picture(size=95), picture(size=20)  # 0.009 and 0.0004 megapixels; 0.04 may be together
    boasting = picture(size=300)
    with TestClient(create_app(settings)) as client:
        four, mixed = (
            client.post(
                "/v1/predict", files=[("image", (f"{n}.jpg", card, "image/jpeg")) for n, card in enumerate(cards)]
            )
            for cards in ([large] * 4, [large, large, large, large, boasting, large, small])
        )
        inputs = [{"name": "image", "datatype": "BYTES", "shape": [5], "data": [b64encode(large).decode()] * 5}]
        protocol = client.post("/v2/models/cards/infer", json={"inputs": inputs})

    assert [item["label"] for item in four.json()["predictions"]] == ["light"] * 4
    found = [item.get("label") or item["error"]["code"] for item in mixed.json()["predictions"]]
    assert found == [*["light"] * 4, "too_many_pixels", "too_many_pixels", "light"]
    assert "more than 0.04 megapixels; send it alone" in mixed.json()["predictions"][5]["error"]["message"]
    assert (protocol.status_code, protocol.headers["x-error-code"]) == (413, "too_many_pixels")


def test_the_counters_have_our_names_and_fixed_labels(client):
    client.post("/v1/predict", content=LIGHT, headers=JPEG)
    client.post("/v1/predict", content=b"nothing", headers=JPEG)
    client.get("/anything-a-scanner-tries")

    page = client.get("/metrics").text

    assert 'kedge_http_requests_total{route="/v1/predict",status="200"} 1.0' in page
    assert 'kedge_http_requests_total{route="/v1/predict",status="422"} 1.0' in page
    assert "kedge_predictions_total 1.0" in page
    assert "kedge_model_version 1.0" in page
    assert "kedge_spool_segments 1.0" in page
    assert "scanner" not in page
    names = {line.split("{")[0].split(" ")[0] for line in page.splitlines() if line and not line.startswith("#")}
    assert all(name.startswith("kedge_") for name in names)


def test_without_a_model_the_service_lives_but_is_not_ready(place):
    with TestClient(create_app(place.settings)) as client:
        assert client.get("/livez").status_code == 200
        assert error_of(client.get("/readyz")) == (503, "no_model")
        assert error_of(client.get("/v1/model")) == (503, "no_model")
        assert error_of(client.post("/v1/predict", content=LIGHT, headers=JPEG)) == (503, "no_model")
        assert client.post("/v1/feedback", json={"id": "a", "label": "b"}).status_code == 200


def test_with_a_token_everything_that_answers_asks_for_it(place):
    place.champion()
    settings = replace(place.settings, serve=replace(place.settings.serve, token="open sesame"))
    with TestClient(create_app(settings)) as client:
        wait_for(lambda: client.get("/readyz").status_code == 200)
        asked = {"/v1/predict": client.post, "/v1/feedback": client.post, "/v1/model": client.get}

        assert {error_of(ask(path)) for path, ask in asked.items()} == {(401, "token_required")}
        assert error_of(client.get("/v1/model", headers={"Authorization": "Bearer open"})) == (401, "wrong_token")
        assert client.get("/v1/model", headers={"Authorization": "Bearer open sesame"}).status_code == 200
        assert client.get("/metrics").status_code == 200


def test_a_full_disk_serves_and_counts_or_refuses_as_the_settings_say(place):
    place.champion()
    no_room = replace(place.settings.serve, least_free_disk_mb=1e12)
    outcomes = {}
    for policy in ("serve", "refuse"):
        settings = replace(place.settings, serve=replace(no_room, when_disk_full=policy))
        with TestClient(create_app(settings)) as client:
            wait_for(lambda client=client: client.get("/readyz").status_code == 200)
            response = client.post("/v1/predict", content=LIGHT, headers=JPEG)
            feedback = client.post("/v1/feedback", json={"id": "a", "label": "dark"})
            outcomes[policy] = response.status_code, error_of(feedback), client.get("/metrics").text

    assert outcomes["serve"][:2] == (200, (503, "log_full"))
    assert outcomes["refuse"][:2] == (503, (503, "log_full"))
    assert "kedge_predictions_not_logged_total 1.0" in outcomes["serve"][2]
    assert place.spooled() == ([], [])


def test_the_json_of_an_answer_is_plain(client):
    raw = client.post("/v1/predict", content=LIGHT, headers=JPEG).content

    assert list(json.loads(raw)) == ["id", "model", "label", "confidence", "probabilities"]
