import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from service.client import Client, Feedback, ServiceAway, ServiceRefused


class Scripted:
    """A server that answers as told, one after the other, and remembers what it was asked."""

    def __init__(self) -> None:
        self.script: list[tuple[int, dict[str, str], Any]] = []
        self.asked: list[tuple[str, bytes]] = []
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                scripted.asked.append((self.path, body))
                status, headers, answer = scripted.script.pop(0)
                data = json.dumps(answer).encode()
                self.send_response(status)
                for name, value in {**headers, "Content-Length": str(len(data))}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - the base class names it so
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    made = Scripted()
    yield made
    made.server.shutdown()
    made.thread.join()
    made.server.server_close()


BUSY = (429, {"Retry-After": "0.01"}, {"error": {"code": "queue_full", "message": "later"}})
ANSWER = {"id": "a", "model": "cards:7", "label": "dark", "confidence": 1.0, "probabilities": {"dark": 1.0}}


def test_a_busy_service_is_asked_again_with_the_same_id(scripted):
    scripted.script = [BUSY, BUSY, (200, {}, ANSWER)]

    with Client(scripted.url) as client:
        answer = client.predict(b"image", {"camera": "A"})

    assert (answer.label, answer.version) == ("dark", 7)
    assert len(scripted.asked) == 3
    assert len({path for path, _ in scripted.asked}) == 1


def test_patience_ends(scripted):
    scripted.script = [BUSY] * 50

    with Client(scripted.url, patience_s=0.05) as client, pytest.raises(ServiceRefused) as refused:
        client.predict(b"image")

    assert (refused.value.status, refused.value.code) == (429, "queue_full")


def test_a_refusal_is_raised_at_once_with_its_code(scripted):
    scripted.script = [(422, {}, {"error": {"code": "not_an_image", "message": "no image"}})]

    with Client(scripted.url) as client, pytest.raises(ServiceRefused, match=r"no image \(422 not_an_image\)"):
        client.predict(b"image")


def test_labels_go_as_one_list(scripted):
    scripted.script = [(202, {}, {"kept": 1, "notes": [{"id": "a", "code": "unknown_class", "message": "m"}]})]

    with Client(scripted.url) as client:
        notes = client.feedback([Feedback("a", "owl", "ada")])
        nothing = client.feedback([])

    assert notes == [{"id": "a", "code": "unknown_class", "message": "m"}]
    assert nothing == []
    assert json.loads(scripted.asked[0][1]) == [{"id": "a", "label": "owl", "labelled_by": "ada"}]


def test_nobody_at_the_address_is_said_clearly():
    with (
        Client("http://127.0.0.1:9", patience_s=0) as client,
        pytest.raises(ServiceAway, match="Is `kedge up` running"),
    ):
        client.predict(b"image")
