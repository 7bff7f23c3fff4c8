"""What the console shows of labels that people are asked for, and to whom it shows pictures."""

import hashlib
from typing import Any

import pytest
from starlette.testclient import TestClient

from infra import schema
from infra.settings import load
from monitoring.console.app import application
from monitoring.prediction_log import image_key
from tests.monitoring.test_console import STARTED, Place, client, place, text_of

__all__ = ["client", "place"]

PNG = b"\x89PNG\r\n\x1a\n and the rest of a picture"


def ask(place: Place, identifier: str, data: bytes = PNG, **values: Any) -> str:
    sha256 = hashlib.sha256(data).hexdigest()
    place.objects.put(image_key(sha256), data)
    row = {
        "name": "digits", "prediction_id": identifier, "predicted_at": STARTED, "asked_at": STARTED,
        "model_version": 1, "stratum": "uncertain", "probability": 0.25, "uniform_probability": 0.05,
        "in_audit": False, "policy": "poisson-1", "state": "asked", "image_sha256": sha256,
        "facts": {"answer": "seven", "confidence": 0.51},
    }  # fmt: skip
    place.insert(schema.label_requests, **(row | values))
    return f"/to-label/{sha256}"


def test_pictures_to_label_are_shown_with_their_reason_and_who_has_answered(place: Place, client: TestClient) -> None:
    place.champion()
    ask(place, "unsure")
    ask(place, "by-chance", PNG + b"2", stratum="audit", in_audit=True, probability=0.05)
    ask(place, "done", PNG + b"3", state="answered", label="eight")
    ask(place, "nobody", PNG + b"4", state="skipped")

    page = client.get("/").text

    said = text_of(page)
    assert "To label next · 2" in said
    # Chance first, and without what the model said.
    assert "audit drawn by chance: what estimates rest on probability 0.05 by-chance uncertain" in said
    assert "the model said seven (51.0 %) probability 0.25 unsure" in said
    assert "uncertain 1 1 answered, 1 skipped, 0 overdue 50.0 %" in said
    assert page.count("<img src=") == 2


def test_a_picture_is_handed_out_only_while_somebody_is_asked_about_it(place: Place, client: TestClient) -> None:
    open_one, answered = ask(place, "a"), ask(place, "b", PNG + b"2", state="answered")
    foreign = ask(place, "c", PNG + b"3", name="another model")
    page = ask(place, "d", b"<script>alert(1)</script>")

    shown = client.get(open_one)

    assert (shown.status_code, shown.content) == (200, PNG)
    assert shown.headers["content-type"] == "image/png"
    assert "sandbox" in shown.headers["content-security-policy"]
    assert shown.headers["x-content-type-options"] == "nosniff"
    for path in (answered, foreign, page, "/to-label/../secret", f"/to-label/{'0' * 64}"):
        assert client.get(path).status_code == 404
    place.objects.delete(image_key(open_one.rpartition("/")[2]))
    assert client.get(open_one).status_code == 404


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "kedge.example"])
def test_a_console_that_others_can_reach_shows_no_picture(place: Place, host: str) -> None:
    path = ask(place, "a")
    settings = load(place.settings.root, {"KEDGE_CONSOLE__HOST": host})

    with TestClient(application(settings, place.engine, place.objects), base_url="http://127.0.0.1") as outside:
        page, picture = outside.get("/").text, outside.get(path)

    assert picture.status_code == 404
    assert "<img" not in page
    assert "Pictures are shown only while the console listens on this machine alone" in text_of(page)


def test_where_nothing_waits_the_page_says_what_will(place: Place, client: TestClient) -> None:
    assert "Nothing waits for a label. Of the predictions that come, about 20 a day" in text_of(client.get("/").text)
