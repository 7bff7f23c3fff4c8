"""Asking for a retrain over HTTP: who may, what is written down, and how the answer is heard."""

from dataclasses import replace

import pytest
from starlette.testclient import TestClient

from infra.database import open_database, writing
from infra.ledger import Ledger
from infra.retrain_requests import answer_within, retrain_request
from infra.tokens import ADMIN, FEEDBACK, create
from service.client import Client, ServiceRefused
from service.http import create_app
from tests.service.served_cards import served_cards


@pytest.fixture
def engine(place):
    opened = open_database(place.settings.storage.database)
    yield opened
    opened.dispose()


def test_a_request_is_written_down_and_its_answer_is_heard_once_a_look_has_decided(place, engine):
    with TestClient(create_app(place.settings)) as client:
        asked = client.post("/v1/retrain", json={"reason": " a new camera "})
        address = asked.headers["location"]
        waiting = client.get(address).json()
        with writing(engine) as connection:
            request = retrain_request(engine, asked.json()["request"])
            answer_within(connection, request, "accepted", "A retrain starts.", "job-1")
        answered = client.get(address).json()

    assert asked.status_code == 202
    assert address == f"/v1/retrain/{request.id}"
    assert (waiting["state"], waiting["reason"], waiting["job"]) == ("waiting", "a new camera", None)
    assert waiting["words"] == "It waits for the watcher's next look."
    assert (answered["state"], answered["words"], answered["job"]) == ("accepted", "A retrain starts.", "job-1")
    assert request.name == place.settings.project.name
    assert [row.kind for row in Ledger(engine).rows("retrain requests")] == ["asked", "accepted"]


@pytest.mark.parametrize(
    "body", [b"", b"reason", b"[]", b"{}", b'{"reason": 7}', b'{"reason": "  "}', b'{"reason": "a", "job": "b"}']
)
def test_a_body_without_a_reason_is_refused_and_nothing_is_written(place, engine, body):
    with TestClient(create_app(place.settings)) as client:
        response = client.post("/v1/retrain", content=body)

    assert (response.status_code, response.json()["error"]["code"]) == (400, "bad_retrain_request")
    assert Ledger(engine).rows("retrain requests") == ()


def test_only_an_admin_may_ask_and_the_request_names_the_token(place, engine):
    admin, labeller = (create(engine, name, role, actor="test") for name, role in (("boss", ADMIN), ("ann", FEEDBACK)))
    with TestClient(create_app(place.settings)) as client:
        codes = [
            client.post("/v1/retrain", json={"reason": "now"}, headers=headers).status_code
            for headers in ({}, key(labeller), key(admin))
        ]
        asked = client.post("/v1/retrain", json={"reason": "now"}, headers=key(admin)).json()["request"]

    assert codes == [401, 403, 202]
    assert retrain_request(engine, asked).asked_by == admin.token.id


def test_while_the_database_is_away_the_caller_is_told_to_come_back(place, tmp_path):
    # A database without its tables is as good as none.
    away = f"sqlite:///{tmp_path / 'empty.db'}"
    with TestClient(create_app(place.settings)) as client:
        worker = client.app.state.worker
        worker.settings = replace(worker.settings, storage=replace(worker.settings.storage, database=away))
        response = client.post("/v1/retrain", json={"reason": "now"})

    assert (response.status_code, response.json()["error"]["code"]) == (503, "database_away")
    assert response.headers["retry-after"] == "5"


def test_the_client_asks_and_hears(tmp_path):
    with served_cards(tmp_path) as served, Client(served.url) as client:
        identifier = client.request_retrain("labels of the night shift are in")

        heard = client.retrain_request(identifier)
        assert (heard.request, heard.state, heard.job) == (identifier, "waiting", None)
        with pytest.raises(ServiceRefused, match="no_such_request"):
            client.retrain_request("nobody")


def key(made):
    return {"Authorization": f"Bearer {made.secret}"}
