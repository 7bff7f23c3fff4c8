"""`kedge token`: what a person sees, and what a script gets."""

import json
import re

import pytest
from rich.console import Console

from infra.database import open_database
from infra.ledger import Ledger
from infra.settings import load
from infra.settings_sections import ServeSettings
from infra.tokens import NewToken, Token, digest, token_book, tokens


@pytest.fixture
def kedge(tmp_path, kedge, monkeypatch):
    """The command in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    return kedge


@pytest.fixture
def engine(kedge, tmp_path):
    opened = open_database(load(tmp_path).storage.database)
    yield opened
    opened.dispose()


def test_a_token_is_shown_once_with_a_line_to_copy(kedge, engine):
    code, out, _ = kedge("token", "create", "hall-3", "--role", "predict")

    secret = re.search(r"^  (kedge_\S+)$", out, re.MULTILINE)[1]
    (known,) = token_book(engine).living
    assert code == 0
    assert known.sha256 == digest(secret.encode())
    assert out.startswith("Made the token hall-3 (predict). This is shown only now; keep it safe:")
    assert (
        f"\n  curl -H 'Authorization: Bearer {secret}' -H 'Content-Type: image/jpeg' --data-binary @photo.jpg "
        "http://127.0.0.1:3000/v1/predict\n"
    ) in out
    assert "from now on every caller needs a token, also on this machine" in out
    for words in (("token", "list"), ("token", "list", "--json"), ("token", "revoke", "hall-3")):
        assert secret.removeprefix("kedge_") not in kedge(*words)[1]


def test_the_second_token_changes_nothing_for_others_and_says_nothing_of_it(kedge):
    kedge("token", "create", "hall-3", "--role", "predict")

    _, out, _ = kedge("token", "create", "labels", "--role", "feedback")

    assert "every caller" not in out
    assert """-d '{"id": "ID-OF-AN-ANSWER", "label": "LABEL"}' http://127.0.0.1:3000/v1/feedback""" in out


def test_a_script_gets_the_secret_and_the_list_as_json(kedge):
    made = json.loads(kedge("token", "create", "ci", "--role", "admin", "--json")[1])
    listed = json.loads(kedge("token", "list", "--json")[1])
    revoked = json.loads(kedge("token", "revoke", made["id"], "--json")[1])

    assert made["secret"].startswith("kedge_")
    assert listed == [{key: value for key, value in made.items() if key != "secret"}]
    assert (revoked["id"], revoked["revoked_at"] is not None) == (made["id"], True)


def test_the_list_tells_the_living_from_the_revoked(kedge):
    assert kedge("token", "list")[1].strip() == "No token yet. `kedge token create NAME --role predict` makes one."
    kedge("token", "create", "hall-3", "--role", "predict")
    kedge("token", "create", "labels", "--role", "feedback")

    _, revoked, _ = kedge("token", "revoke", "hall-3")
    lines = kedge("token", "list")[1].splitlines()

    assert revoked == "Revoked the token hall-3 (predict).\n"
    (hall,) = [line for line in lines if "hall-3" in line]
    (labels,) = [line for line in lines if "labels" in line]
    assert re.search(r"predict +revoked \d+ s ago", hall)
    assert re.search(r"feedback +lives", labels)


def test_revoking_the_last_one_says_that_nobody_is_let_in(kedge, monkeypatch):
    kedge("token", "create", "hall-3", "--role", "predict")

    _, alone, _ = kedge("token", "revoke", "hall-3")
    monkeypatch.setenv("KEDGE_SERVE__TOKEN", "one of the settings")
    kedge("token", "create", "hall-3", "--role", "predict")
    _, with_another, _ = kedge("token", "revoke", "hall-3")

    assert "It was the last one: nobody is let in until you make another." in alone
    assert "nobody" not in with_another


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["create", "hall-3", "--role", "admin"], "There is a living token 'hall-3' already, with the role predict."),
        (["create", "hall 3", "--role", "admin"], "A token's name should be 1 to 80 letters"),
        (["revoke", "hall-4"], "There is no living token 'hall-4'; there are: hall-3. `kedge token list` tells."),
    ],
)
def test_a_mistake_is_one_message_and_changes_nothing(kedge, engine, arguments, message):
    kedge("token", "create", "hall-3", "--role", "predict")
    before = tokens(engine), Ledger(engine).rows("tokens")

    code, out, err = kedge("token", *arguments)

    assert (code, out) == (1, "")
    assert err.startswith(f"kedge: {message}")
    assert (tokens(engine), Ledger(engine).rows("tokens")) == before


@pytest.mark.parametrize("arguments", [["create", "hall-3"], ["create", "hall-3", "--role", "root"], ["revoke"]])
def test_wrong_usage_ends_with_2_and_makes_nothing(kedge, engine, arguments):
    code, _, _ = kedge("token", *arguments)

    assert (code, tokens(engine)) == (2, ())


@pytest.mark.parametrize(
    ("host", "called"),
    [("0.0.0.0", "localhost"), ("::", "localhost"), ("::1", "[::1]"), ("10.0.0.7", "10.0.0.7"), ("cam.lan", "cam.lan")],
)
def test_the_line_to_copy_calls_an_address_that_can_be_called(host, called, capsys):
    from flows.show_tokens import show_new_token
    from infra.clock import now

    new = NewToken(Token("id", "hall-3", "predict", now(), "ada", None), "kedge_x", first=False)

    show_new_token(Console(width=120), new, ServeSettings(host=host))

    assert f"http://{called}:3000/v1/predict" in capsys.readouterr().out
