import json
import threading
from collections.abc import Iterator
from datetime import timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from infra.clock import now
from infra.errors import UserError
from service.client import Client, ClientAnswer, Feedback, ServiceAway, ServiceRefused, Unanswered
from tests.service.cards import picture
from tests.service.served_cards import served_cards

HANG_UP = 0


class Scripted:
    """A server that answers as told, one after the other, and remembers what it was asked."""

    def __init__(self) -> None:
        self.script: list[tuple[int, dict[str, str], Any]] = []
        self.asked: list[tuple[str, bytes]] = []
        self.request_ids: list[str] = []
        scripted = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                scripted.asked.append((self.path, body))
                scripted.request_ids.append(self.headers["X-Request-ID"])
                status, headers, answer = scripted.script.pop(0)
                if status == HANG_UP:
                    self.close_connection = True
                    return
                data = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
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

    @property
    def images(self) -> list[int]:
        """How many images each request carried."""
        return [body.count(b'; name="image"') for _, body in self.asked]


@pytest.fixture
def scripted() -> Iterator[Scripted]:
    made = Scripted()
    yield made
    made.server.shutdown()
    made.thread.join()
    made.server.server_close()


def refusal(status: int, code: str, **headers: str) -> tuple[int, dict[str, str], Any]:
    return status, {name.replace("_", "-"): value for name, value in headers.items()}, {
        "error": {"code": code, "message": f"it is {code}"}
    }  # fmt: skip


def answer(identifier: str = "a") -> dict[str, Any]:
    return {"id": identifier, "model": "cards:7", "label": "dark", "confidence": 1.0, "probabilities": {"dark": 1.0}}


def answers(*identifiers: str) -> tuple[int, dict[str, str], Any]:
    return 200, {}, {"predictions": [answer(identifier) for identifier in identifiers]}


BUSY = refusal(429, "queue_full", Retry_After="0.01")
ANSWER = (200, {}, answer())


def test_a_busy_service_is_asked_again_with_the_same_id(scripted):
    scripted.script = [BUSY, BUSY, ANSWER]

    with Client(scripted.url) as client:
        answered = client.predict(b"image", {"camera": "A"})

    assert (answered.label, answered.version) == ("dark", 7)
    assert len(scripted.asked) == 3
    assert len({path for path, _ in scripted.asked}) == 1
    assert len(set(scripted.request_ids)) == 1


def test_a_connection_that_breaks_is_tried_again_with_the_whole_body(scripted):
    scripted.script = [(HANG_UP, {}, None), answers("a", "b")]

    with Client(scripted.url) as client:
        outcomes = list(client.predict_many([b"one", b"two"], ids=["a", "b"]))

    assert [outcome.id for outcome in outcomes] == ["a", "b"]
    assert scripted.images == [2, 2]
    assert all(b"one" in body and b"two" in body for _, body in scripted.asked)


def test_retry_after_may_be_a_date(scripted):
    passed = format_datetime(now() - timedelta(seconds=5), usegmt=True)
    scripted.script = [refusal(503, "no_model", Retry_After=passed), ANSWER]

    with Client(scripted.url) as client:
        assert client.predict(b"image").label == "dark"


@pytest.mark.parametrize(
    "retry_after", ["3600", format_datetime(now() + timedelta(days=1), usegmt=True)], ids=["seconds", "date"]
)
def test_a_service_that_says_much_later_is_not_asked_again(scripted, retry_after):
    scripted.script = [refusal(503, "no_model", Retry_After=retry_after), ANSWER]

    with Client(scripted.url) as client, pytest.raises(ServiceRefused, match="503 no_model"):
        client.predict(b"image")

    assert len(scripted.asked) == 1


@pytest.mark.parametrize("retry_after", ["soon", "-3", "nan", ""])
def test_a_retry_after_that_says_nothing_is_no_reason_to_give_up(scripted, retry_after):
    scripted.script = [refusal(503, "no_model", Retry_After=retry_after), ANSWER]

    with Client(scripted.url) as client:
        assert client.predict(b"image").label == "dark"


def test_patience_ends(scripted):
    scripted.script = [BUSY] * 50

    with Client(scripted.url, patience_s=0.05) as client, pytest.raises(ServiceRefused) as refused:
        client.predict(b"image")

    assert (refused.value.status, refused.value.code) == (429, "queue_full")


def test_a_refusal_is_raised_at_once_with_its_code_and_the_requests_id(scripted):
    scripted.script = [refusal(422, "not_an_image")]

    with Client(scripted.url) as client, pytest.raises(ServiceRefused) as refused:
        client.predict(b"image")

    assert str(refused.value) == f"it is not_an_image (422 not_an_image, request {scripted.request_ids[0]})"


def test_an_answer_that_says_more_than_the_client_knows_is_understood(scripted):
    scripted.script = [(200, {}, answer() | {"canary": True})]

    with Client(scripted.url) as client:
        assert client.predict(b"image") == ClientAnswer(**answer())


@pytest.mark.parametrize("page", [b"<html>It works!</html>", b"[]"], ids=["a page", "a list"])
def test_somebody_else_at_the_address_is_told_apart(scripted, page):
    scripted.script = [(200, {}, page)]

    with Client(scripted.url) as client, pytest.raises(ServiceRefused, match="is not Kedge; check the address"):
        client.predict(b"image")


def test_many_images_go_sixteen_at_a_time_each_with_its_id(scripted):
    names = [f"id-{number}" for number in range(20)]
    scripted.script = [answers(*names[:16]), answers(*names[16:])]

    with Client(scripted.url) as client:
        outcomes = list(client.predict_many((b"image" for _ in names), {"camera": "A"}, names))

    assert [outcome.id for outcome in outcomes] == names
    assert scripted.images == [16, 4]
    assert all(name.encode() in scripted.asked[0][1] for name in names[:16])
    assert b'{"camera": "A"}' in scripted.asked[1][1]


def test_large_images_go_in_smaller_batches(scripted):
    scripted.script = [answers("a", "b"), (200, {}, answer("c"))]

    with Client(scripted.url) as client:
        outcomes = list(client.predict_many([bytes(4_000_000)] * 3, ids=["a", "b", "c"]))

    assert [outcome.id for outcome in outcomes] == ["a", "b", "c"]
    assert scripted.images == [2, 1]


def test_a_batch_that_is_too_large_is_halved_until_the_large_image_is_found(scripted):
    too_large = refusal(413, "body_too_large")
    scripted.script = [too_large, answers("a", "b"), too_large, too_large, (200, {}, answer("d"))]

    with Client(scripted.url) as client:
        outcomes = list(client.predict_many([b"1", b"2", b"3", b"4"], ids=["a", "b", "c", "d"]))

    assert [outcome.id for outcome in outcomes] == ["a", "b", "c", "d"]
    assert outcomes[2] == Unanswered("c", "body_too_large", "it is body_too_large")
    assert scripted.images == [4, 2, 2, 1, 1]


def test_an_image_that_is_none_leaves_its_neighbours_alone(scripted):
    bad = {"id": "b", "error": {"code": "not_an_image", "message": "no image"}}
    scripted.script = [(200, {}, {"predictions": [answer("a"), bad]}), refusal(422, "not_an_image")]

    with Client(scripted.url) as client:
        among_others = list(client.predict_many([b"1", b"2"], ids=["a", "b"]))
        alone = list(client.predict_many([b"2"], ids=["b"]))

    assert among_others == [ClientAnswer(**answer("a")), Unanswered("b", "not_an_image", "no image")]
    assert alone == [Unanswered("b", "not_an_image", "it is not_an_image")]


def test_what_is_wrong_with_the_request_is_not_blamed_on_an_image(scripted):
    scripted.script = [refusal(401, "wrong_token")]

    with Client(scripted.url) as client, pytest.raises(ServiceRefused, match="401 wrong_token"):
        list(client.predict_many([b"1"]))


def test_more_images_than_ids_are_a_mistake_of_the_caller(scripted):
    with Client(scripted.url) as client, pytest.raises(ValueError, match="more images than ids"):
        list(client.predict_many([b"1", b"2"], ids=["a"]))

    assert scripted.asked == []


def test_the_client_and_the_real_service_understand_each_other(tmp_path):
    light, dark = picture((250, 250, 250)), picture((5, 5, 5))

    with served_cards(tmp_path) as place, Client(place.url) as client:
        one = client.predict(light, {"camera": "hall 1"}, "my id & more")
        again = client.predict(dark, id="my id & more")
        many = list(client.predict_many([light, b"no image", dark], {"camera": "hall 1"}, ["a", "b", "c"]))
        alone = list(client.predict_many([b"no image"]))
        notes = client.feedback([Feedback("a", "dark"), Feedback("c", "zebra", "ada")])
        served = client.model()["model"], client.ready()
        rows, labels = place.spooled()

    assert (one.id, one.label, one.version, again.label) == ("my id & more", "light", 1, "dark")
    assert [getattr(outcome, "label", "") or outcome.code for outcome in many] == ["light", "not_an_image", "dark"]
    assert [type(outcome) for outcome in alone] == [Unanswered]
    assert [(note["id"], note["code"]) for note in notes] == [("c", "unknown_class")]
    assert served == ("cards:1", True)
    assert [(row.id, row.metadata.get("camera"), row.repeated) for row in rows] == [
        ("my id & more", "hall 1", False), ("my id & more", None, True), ("a", "hall 1", False), ("c", "hall 1", False)
    ]  # fmt: skip
    assert [(label.id, label.labelled_by) for label in labels] == [("a", ""), ("c", "ada")]


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
        pytest.raises(ServiceAway, match=r"No service answers at http://127\.0\.0\.1:9 .* Is `kedge up` running"),
    ):
        client.predict(b"image")


@pytest.mark.parametrize(
    "url", ["", "127.0.0.1:3000", "ftp://host", "http://", "localhost", "http://a:b", "http://[::1"]
)
def test_an_address_that_is_none_is_refused_before_anything_is_sent(url):
    with pytest.raises(UserError, match="is no address of a service"):
        Client(url)


@pytest.mark.parametrize("token", ["two words", "line\n", "schlüssel"])
def test_a_token_that_no_header_can_carry_is_refused_in_words(token):
    with pytest.raises(UserError, match="characters that no token has"):
        Client("http://127.0.0.1:3000", token)
