"""What `kedge status` says about the next retrain, from real looks."""

import io
import json

import pytest
from rich.console import Console

from flows.show import show_status
from flows.status import status, to_json
from flows.watching import watch_place
from flows.workplace import Workplace, open_workplace
from infra.retrain_requests import ask_for_retrain
from monitoring.watch import tick


@pytest.fixture
def place(tmp_path) -> Workplace:
    """A champion without a profile: the least that a look decides about."""
    (tmp_path / "kedge.toml").write_text('[trigger]\nwhen = "any(harm, requested)"\n')
    opened = open_workplace(tmp_path)
    folder = tmp_path / "candidate"
    folder.mkdir()
    for name in ("model.onnx", "model.safetensors", "artifact.json"):
        (folder / name).write_bytes(name.encode())
    opened.registry.register(folder, reason="first", parent_version=None)
    opened.registry.champions.promote(1, actor="test", reason="test")
    return opened


def shown(place) -> str:
    page = io.StringIO()
    show_status(Console(file=page, width=200), status(place))
    return page.getvalue()


def test_before_the_first_look_nothing_is_decided(place):
    assert status(place).decision is None
    assert "nothing decided yet" in shown(place)


def test_the_newest_decision_stands_beside_what_a_retrain_would_cost(place):
    tick(watch_place(place))

    said = shown(place)

    assert "Nothing asks for a retrain: any(harm, requested)." in said
    assert "a retrain would cost about 30 minutes of training" in said


def test_a_request_is_told_in_its_own_words_and_nothing_in_them_is_markup(place):
    ask_for_retrain(place.engine, place.settings.project.name, "token-7", "[red]now[/red] [/x]")
    job_id = tick(watch_place(place)).job_id

    document = json.loads(to_json(status(place)))

    assert 'A retrain starts. Asked for from outside: "[red]now[/red] [/x]".' in shown(place)
    assert (document["decision"]["starts"], document["decision"]["reason"]) == (True, "requested")
    assert document["last_retrain"]["id"] == job_id
