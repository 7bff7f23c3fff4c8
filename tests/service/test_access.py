"""Who is let in: real tokens in a real database, asked for by the real application."""

import json
import stat
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace

import httpx
import pytest
import sqlalchemy as sa
from starlette.testclient import TestClient

from infra.database import open_database, writing
from infra.errors import UserError
from infra.settings import Settings
from infra.tokens import ADMIN, FEEDBACK, PREDICT, create, revoke
from service.access import check_listener
from service.door import Caller, Door
from service.errors import Refusal
from service.http import create_app
from service.known_tokens import KnownTokens, copy_of_tokens, read_copy
from tests.service.cards import Place, picture, wait_for

LIGHT = picture()
JPEG = {"Content-Type": "image/jpeg"}
ANSWERED, NO_TOKEN, WRONG_TOKEN = (200, None), (401, "token_required"), (401, "wrong_token")

REVOKE = """
import sys
from infra.database import open_database
from infra.tokens import revoke
revoke(open_database(sys.argv[1]), sys.argv[2], actor="another process")
"""


@pytest.fixture
def engine(place: Place) -> Iterator:
    opened = open_database(place.settings.storage.database)
    yield opened
    opened.dispose()


@pytest.fixture
def client(place: Place) -> Iterator[TestClient]:
    place.champion()
    with TestClient(create_app(place.settings)) as client:
        wait_for(lambda: client.get("/readyz").status_code == 200)
        yield client


def with_serve(place: Place, **values) -> Settings:
    return replace(place.settings, serve=replace(place.settings.serve, **values))


def as_caller(secret: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {secret}"}


def ask(client: TestClient | httpx.Client, secret: str | None = None, path: str = "/v1/predict") -> tuple:
    """Status and error code of one request."""
    headers = as_caller(secret) if secret is not None else {}
    if path == "/v1/predict":
        response = client.post(path, content=LIGHT, headers={**JPEG, **headers})
    elif path == "/v1/feedback":
        response = client.post(path, json={"id": "a", "label": "dark"}, headers=headers)
    else:
        response = client.get(path, headers=headers)
    return response.status_code, None if response.is_success else response.json()["error"]["code"]


def rename(engine: sa.Engine, table: str, to: str) -> None:
    with writing(engine) as connection:
        connection.execute(sa.text(f"alter table {table} rename to {to}"))


def take_the_database_away(place: Place) -> None:
    database = place.settings.storage.home / "kedge.db"
    for path in database.parent.glob("kedge.db*"):
        path.rename(path.with_name(f"away-{path.name}"))
    database.mkdir(parents=True)


def test_each_role_may_do_its_part_and_admin_everything(client, engine):
    secrets = {role: create(engine, role, role, actor="test").secret for role in (PREDICT, FEEDBACK, ADMIN)}
    wait_for(lambda: ask(client) == NO_TOKEN)

    seen = {
        (role, path): ask(client, secret, path)
        for role, secret in secrets.items()
        for path in ("/v1/predict", "/v1/feedback", "/v1/model", "/v1/nothing")
    }

    refused, nothing = (403, "wrong_role"), (404, "not_found")
    assert {path: seen[PREDICT, path] for _, path in seen} == {
        "/v1/predict": ANSWERED, "/v1/feedback": refused, "/v1/model": ANSWERED, "/v1/nothing": refused
    }  # fmt: skip
    assert {path: seen[FEEDBACK, path] for _, path in seen} == {
        "/v1/predict": refused, "/v1/feedback": ANSWERED, "/v1/model": ANSWERED, "/v1/nothing": refused
    }  # fmt: skip
    assert {path: seen[ADMIN, path] for _, path in seen} == {
        "/v1/predict": ANSWERED, "/v1/feedback": ANSWERED, "/v1/model": ANSWERED, "/v1/nothing": nothing
    }  # fmt: skip


def test_who_may_not_is_told_which_role_may(client, engine):
    secret = create(engine, "labels", FEEDBACK, actor="test").secret
    wait_for(lambda: ask(client) == NO_TOKEN)

    response = client.post("/v1/predict", content=LIGHT, headers={**JPEG, **as_caller(secret)})

    assert response.json()["error"]["message"] == (
        "this token's role is 'feedback', but POST /v1/predict asks for 'predict' or 'admin'; use another"
    )
    assert response.headers["WWW-Authenticate"] == 'Bearer error="insufficient_scope"'


def test_only_predict_may_speak_the_inference_protocol_and_its_health_is_open(client, engine):
    secrets = {role: create(engine, role, role, actor="test").secret for role in (PREDICT, FEEDBACK)}
    wait_for(lambda: ask(client) == NO_TOKEN)
    paths = ("/v2", "/v2/models/cards", "/v2/models/cards/infer")

    predict = {client.get(path, headers=as_caller(secrets[PREDICT])).status_code for path in paths}
    feedback = {client.get(path, headers=as_caller(secrets[FEEDBACK])).status_code for path in paths}
    nobody = {client.get(path).status_code for path in paths}

    assert predict.isdisjoint({401, 403})
    assert (feedback, nobody) == ({403}, {401})
    assert client.get("/v2/health/live").status_code not in (401, 403)


def test_a_revoked_token_is_refused_within_a_second_also_when_it_was_the_last(client, engine, place):
    secret = create(engine, "hall-3", PREDICT, actor="test").secret
    wait_for(lambda: ask(client, secret) == ANSWERED and ask(client) == NO_TOKEN)

    subprocess.run([sys.executable, "-c", REVOKE, place.settings.storage.database, "hall-3"], check=True)

    wait_for(lambda: ask(client, secret) == WRONG_TOKEN)
    # Behind a proxy on this machine, all the world comes from loopback: no token left is no open door.
    assert ask(client) == NO_TOKEN


def test_until_there_is_a_token_this_machine_is_served_and_the_first_one_ends_that(client, engine):
    before = ask(client)
    secret = create(engine, "hall-3", PREDICT, actor="test").secret
    wait_for(lambda: ask(client) == NO_TOKEN)

    assert before == ANSWERED
    assert ask(client, secret) == ANSWERED
    assert {path: client.get(path).status_code for path in ("/", "/docs", "/openapi.json", "/metrics", "/livez")} == (
        dict.fromkeys(("/", "/docs", "/openapi.json", "/metrics", "/livez"), 200)
    )


@pytest.mark.parametrize(
    "path", ["/v1/predict", "/v1/model/", "//v1/model", "/v1/model\n", "/docs/", "/new", "/V1/model"]
)
def test_what_is_not_known_to_be_open_asks_for_a_token(place, path):
    with TestClient(create_app(with_serve(place, token="mine"))) as client:
        response = client.get(path.replace("\n", "%0A"), follow_redirects=False)

    assert response.status_code == 401


def test_a_mounted_application_is_guarded_like_one_at_the_root(place):
    app = create_app(with_serve(place, token="mine"))
    with TestClient(app, root_path="/kedge") as client:
        assert ask(client, path="/kedge/v1/model") == NO_TOKEN
        assert ask(client, "mine", "/kedge/v1/model") == (503, "no_model")
        assert client.get("/kedge/livez").status_code == 200


@pytest.mark.parametrize(
    "header",
    ["", "Bearer", "Bearer ", "Basic mine", "mine", "Bearer min", "Bearer mine x", "Bearer minE", "bearer \xff"],
)
def test_what_is_no_token_or_another_one_is_refused(place, header):
    with TestClient(create_app(with_serve(place, token="mine"))) as client:
        response = client.get("/v1/model", headers={"Authorization": header.encode("latin-1")})
        right = client.get("/v1/model", headers={"Authorization": "bEARER  mine"})

    assert response.status_code == 401
    assert response.headers["WWW-Authenticate"] == "Bearer"
    assert right.status_code == 503  # there is no model, but the door was open


def test_the_token_of_the_settings_has_every_right_and_may_have_any_letters(place):
    place.champion()
    with TestClient(create_app(with_serve(place, token="Schlüssel"))) as client:
        wait_for(lambda: client.get("/readyz").status_code == 200)
        header = {"Authorization": "Bearer Schlüssel".encode()}

        assert client.post("/v1/predict", content=LIGHT, headers=header).status_code == 200
        assert client.post("/v1/feedback", json={"id": "a", "label": "dark"}, headers=header).status_code == 200


def test_who_is_turned_away_is_counted(client, engine):
    create(engine, "hall-3", PREDICT, actor="test")
    wait_for(lambda: ask(client) == NO_TOKEN)
    labels = create(engine, "labels", FEEDBACK, actor="test").secret
    wait_for(lambda: ask(client, labels) == (403, "wrong_role"))

    page = client.get("/metrics").text

    assert 'kedge_http_requests_total{route="/v1/predict",status="401"}' in page
    assert 'kedge_http_requests_total{route="/v1/predict",status="403"}' in page


def test_a_running_service_that_cannot_read_the_tokens_keeps_its_door_as_it_was(client, engine):
    secret = create(engine, "hall-3", PREDICT, actor="test").secret
    wait_for(lambda: ask(client, secret) == ANSWERED and ask(client) == NO_TOKEN)
    known = client.app.state.worker.known_tokens

    rename(engine, "tokens", "hidden")
    known.look()
    meanwhile = ask(client, secret), ask(client), ask(client, "kedge_x")
    rename(engine, "hidden", "tokens")
    revoke(engine, "hall-3", actor="test")

    assert meanwhile == (ANSWERED, NO_TOKEN, WRONG_TOKEN)
    wait_for(lambda: ask(client, secret) == WRONG_TOKEN)


def test_tokens_go_on_opening_a_worker_that_starts_while_the_database_is_away(place, engine):
    place.champion()
    living = create(engine, "hall-3", PREDICT, actor="test").secret
    revoked = create(engine, "hall-4", PREDICT, actor="test").secret
    revoke(engine, "hall-4", actor="test")
    with TestClient(create_app(place.settings)) as client:
        wait_for(lambda: client.get("/readyz").status_code == 200)
    place.registry.engine.dispose()
    engine.dispose()
    take_the_database_away(place)

    with TestClient(create_app(place.settings)) as client:
        wait_for(lambda: client.get("/readyz").status_code == 200)

        assert ask(client, living) == ANSWERED
        assert ask(client, revoked) == WRONG_TOKEN
        assert ask(client) == NO_TOKEN


def test_the_copy_is_for_its_owner_alone_and_holds_no_secret(client, engine, place):
    secret = create(engine, "hall-3", PREDICT, actor="test").secret
    wait_for(lambda: ask(client) == NO_TOKEN)
    path = copy_of_tokens(place.settings)
    wait_for(lambda: len(read_copy(path).living) == 1)

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert secret.removeprefix("kedge_") not in path.read_text()
    assert [left.name for left in path.parent.iterdir()] == ["tokens.json"]


@pytest.mark.parametrize("copy", [None, "", "{", '{"living": [{"id": 7}], "any_ever": true}', '{"living": []}', "[]"])
def test_while_nobody_knows_the_tokens_only_that_of_the_settings_opens(place, copy):
    take_the_database_away(place)
    if copy is not None:
        copy_of_tokens(place.settings).parent.mkdir(parents=True)
        copy_of_tokens(place.settings).write_text(copy)

    with TestClient(create_app(with_serve(place, token="mine"))) as client:
        assert ask(client, path="/v1/feedback") == (503, "tokens_unknown")
        assert ask(client, "kedge_x", "/v1/feedback") == (503, "tokens_unknown")
        assert ask(client, "mine", "/v1/feedback") == ANSWERED
        assert client.get("/livez").status_code == 200
    with TestClient(create_app(place.settings)) as client:
        assert ask(client, path="/v1/feedback") == (503, "tokens_unknown")


def test_a_database_that_was_replaced_by_an_empty_one_opens_no_door(place, engine):
    secret = create(engine, "hall-3", PREDICT, actor="test").secret
    with TestClient(create_app(place.settings)) as client:
        assert ask(client, path="/v1/feedback") == NO_TOKEN
    engine.dispose()
    take_the_database_away(place)
    (place.settings.storage.home / "kedge.db").rmdir()

    with TestClient(create_app(place.settings)) as client:
        assert ask(client, path="/v1/feedback") == NO_TOKEN
        assert ask(client, secret) == WRONG_TOKEN
    assert read_copy(copy_of_tokens(place.settings)).any_ever


def test_a_copy_that_cannot_be_written_leaves_the_door_as_the_database_says(place, engine):
    secret = create(engine, "hall-3", FEEDBACK, actor="test").secret
    copy_of_tokens(place.settings).mkdir(parents=True)

    with TestClient(create_app(place.settings)) as client:
        assert ask(client, secret, "/v1/feedback") == ANSWERED
        assert ask(client, path="/v1/feedback") == NO_TOKEN


def test_an_older_copy_by_another_worker_is_put_right_at_the_next_look(place, engine):
    create(engine, "hall-3", PREDICT, actor="test")
    known = KnownTokens(place.settings)
    known.look()
    path = copy_of_tokens(place.settings)
    path.write_text(json.dumps({"any_ever": False, "living": []}))

    known.look()

    assert read_copy(path) == known.book
    known.close()


@pytest.mark.parametrize(
    ("host", "served"), [("127.0.0.1", True), ("::1", True), ("10.0.0.7", False), ("0.0.0.0", False)]
)
def test_without_a_token_only_what_was_connected_to_over_loopback_is_served(place, host, served):
    known = KnownTokens(place.settings)
    known.look()
    scope = {"type": "http", "headers": [(b"host", b"127.0.0.1")], "server": (host, 3000), "client": ("127.0.0.1", 9)}

    if served:
        assert Door("", known).caller(scope) == Caller("address 127.0.0.1", ADMIN)
    else:
        with pytest.raises(Refusal, match="only this machine is served"):
            Door("", known).caller(scope)
    known.close()


def test_a_living_token_lets_the_service_listen_beyond_this_machine(place, engine):
    settings = with_serve(place, host="0.0.0.0")
    with pytest.raises(UserError, match="kedge token create"):
        check_listener(settings)

    create(engine, "hall-3", PREDICT, actor="test")
    check_listener(settings)
    revoke(engine, "hall-3", actor="test")

    with pytest.raises(UserError, match="kedge token create"):
        check_listener(settings)


def test_the_copy_lets_it_listen_while_the_database_is_away(place, engine):
    create(engine, "hall-3", PREDICT, actor="test")
    known = KnownTokens(place.settings)
    known.look()
    known.close()
    engine.dispose()
    take_the_database_away(place)
    settings = with_serve(place, host="0.0.0.0")

    check_listener(settings)
    copy_of_tokens(place.settings).unlink()

    with pytest.raises(UserError, match="cannot be opened"):
        check_listener(settings)


def test_a_service_for_this_machine_alone_does_not_open_the_database_to_start(place):
    check_listener(place.settings)

    assert not (place.settings.storage.home / "kedge.db").exists()


@pytest.mark.slow
@pytest.mark.parametrize("runtime", ["bentoml", "uvicorn"])
def test_every_worker_refuses_a_revoked_token_and_says_so_to_whoever_sends_a_body(place, engine, runtime):
    place.champion()
    place.serve(runtime)
    create(engine, "hall-4", PREDICT, actor="test")
    secret = create(engine, "hall-3", PREDICT, actor="test").secret

    def of_all_workers(wanted: tuple) -> bool:
        # A connection each, so that every worker is met.
        seen = set()
        for _ in range(12):
            with httpx.Client(base_url=place.url, timeout=10) as http:
                seen.add(ask(http, secret))
        return seen == {wanted}

    wait_for(lambda: of_all_workers(ANSWERED), place.output)
    revoke(engine, "hall-3", actor="test")
    wait_for(lambda: of_all_workers(WRONG_TOKEN), place.output)

    for size in (100_000, 900_000):
        for _ in range(10):
            told = httpx.post(f"{place.url}/v1/predict", content=bytes(size), headers=as_caller(secret), timeout=10)
            assert told.status_code == 401
