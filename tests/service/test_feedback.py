"""What becomes of a label: from the request over the spool to the tables that training and monitoring read."""

from collections.abc import Iterator

import pytest
from starlette.testclient import TestClient

from monitoring.prediction_log import PredictionLog
from service.http import create_app
from tests.service.cards import Place, picture, wait_for
from tests.service.served_cards import ship

LIGHT = picture((250, 250, 250))
JPEG = {"Content-Type": "image/jpeg"}


@pytest.fixture
def client(place: Place) -> Iterator[TestClient]:
    place.champion()
    with TestClient(create_app(place.settings)) as client:
        wait_for(lambda: client.get("/readyz").status_code == 200)
        yield client


@pytest.fixture
def log(place: Place) -> PredictionLog:
    return PredictionLog(place.settings.storage)


def ask(client, identifier):
    assert client.post(f"/v1/predict?id={identifier}", content=LIGHT, headers=JPEG).status_code == 200


def tell(client, *labels):
    items = [{"id": identifier, "label": label} for identifier, label in labels]
    response = client.post("/v1/feedback", json=items[0] if len(items) == 1 else items)
    assert response.status_code in (200, 202), response.text
    return response


def truths(log):
    return dict(log.labelled().select("id", "true_label").iter_rows())


@pytest.mark.parametrize("shipped_before", [True, False], ids=["after shipping", "before shipping"])
def test_a_label_finds_its_prediction_shipped_or_not(place, client, log, shipped_before):
    ask(client, "a")
    if shipped_before:
        ship(place)

    tell(client, ("a", "dark"))
    ship(place)

    assert truths(log) == {"a": "dark"}
    assert log.orphaned() == ()


def test_a_label_that_comes_before_its_prediction_is_an_orphan_until_then(place, client, log):
    tell(client, ("early", "dark"))
    ship(place)
    before = [label.id for label in log.orphaned()], log.orphans()

    ask(client, "early")
    ship(place)

    assert before == (["early"], 1)
    assert (log.orphaned(), log.orphans()) == ((), 0)
    assert truths(log) == {"early": "dark"}


def test_a_label_for_an_id_that_nobody_asked_is_kept_and_listed_as_an_orphan(place, client, log):
    ask(client, "a")

    response = tell(client, ("nobody", "red"), ("a", "light"), ("nobody", "dark"))
    ship(place)

    assert (response.status_code, response.json()) == (200, {"kept": 3, "notes": []})
    assert [(label.id, label.label) for label in log.orphaned()] == [("nobody", "dark")]
    assert truths(log) == {"a": "light"}


def test_of_many_labels_for_one_answer_the_last_counts_and_all_are_kept(place, client, log):
    ask(client, "a")

    tell(client, ("a", "dark"))
    tell(client, ("a", "light"), ("b", "red"), ("a", "red"))
    ship(place)
    tell(client, ("a", "dark"))
    ship(place)

    assert truths(log) == {"a": "dark"}
    assert [label.label for label in log.new_labels().rows if label.id == "a"] == ["dark", "light", "red", "dark"]
    assert {identifier: label.label for identifier, label in log.last_labels().items()} == {"a": "dark", "b": "red"}


def test_the_last_of_two_labels_in_one_list_wins(place, client, log):
    ask(client, "a")

    tell(client, ("a", "dark"), ("a", "red"))
    ship(place)

    assert truths(log) == {"a": "red"}
    assert log.labels_by_class() == {"red": 1}


def test_an_unknown_class_goes_to_quarantine_and_a_known_one_takes_it_out(place, client, log):
    ask(client, "a")

    response = tell(client, ("a", "zebra"))
    ship(place)
    in_quarantine = log.labels_by_class()
    tell(client, ("a", "dark"))
    ship(place)

    assert response.status_code == 202
    assert [note["code"] for note in response.json()["notes"]] == ["unknown_class"]
    assert in_quarantine == {"zebra": 1}
    assert log.labels_by_class() == {"dark": 1}
    assert [label.label for label in log.new_labels().rows] == ["zebra", "dark"]


def test_a_label_is_on_the_disk_before_the_answer(place, client):
    tell(client, ("a", "dark"))

    assert [(label.id, label.label) for label in place.spooled()[1]] == [("a", "dark")]


@pytest.mark.parametrize(
    "item",
    [
        {"id": "x" * 129, "label": "dark"},
        {"id": "a", "label": "x" * 129},
        {"id": "a", "label": "   "},
        {"id": "a", "label": ""},
        {"id": "", "label": "dark"},
        {"id": "a", "label": "dark\n"},
        {"id": "a", "label": "dark", "labelled_by": "x" * 129},
    ],
    ids=["long id", "long label", "only spaces", "no label", "no id", "line break", "long name"],
)
def test_a_label_that_cannot_be_kept_is_refused_with_all_that_came_with_it(place, client, item):
    response = client.post("/v1/feedback", json=[{"id": "good", "label": "dark"}, item])

    assert (response.status_code, response.json()["error"]["code"]) == (400, "bad_feedback")
    assert response.json()["error"]["message"].startswith("label 1")
    assert place.spooled() == ([], [])


def test_an_id_as_long_as_ids_may_be_is_asked_and_labelled(place, client, log):
    ask(client, "x" * 128)

    tell(client, ("x" * 128, "dark"))
    ship(place)

    assert truths(log) == {"x" * 128: "dark"}
