"""`kedge rollout` and its parts, as a person calls them."""

import json

import pytest

from flows.rollout.act import advance_rollouts
from models import rollouts
from tests.flows.rollout.answered import CANDIDATE, Answers, cards


@pytest.fixture
def place(tmp_path, monkeypatch):
    made = cards(tmp_path, "shadow_predictions = 20\ncanary_predictions = 20\ncanary_share = 0.5\n")
    monkeypatch.chdir(made.settings.root)
    return made


def test_where_nothing_is_on_its_way_it_says_what_would_be(place, kedge):
    code, out, _ = kedge("rollout")

    assert code == 0
    assert out.startswith("No version is on its way, and none has been.")
    assert json.loads(kedge("rollout", "--json")[1]) == []
    assert kedge("rollout", "stop") == (0, "No version is on its way; nothing was changed.\n", "")


def test_a_person_sets_a_version_on_its_way_sees_what_guards_it_and_stops_it(place, kedge):
    started = kedge("rollout", "start", "2", "--from", "canary", "--reason", "checked by Ada")
    Answers(place).mixed(10)
    advance_rollouts(place)
    shown = kedge("rollout")[1]
    (told,) = json.loads(kedge("rollout", "--json")[1])
    stopped = kedge("rollout", "stop", "--reason", "not before the holidays")

    assert started[0] == 0
    assert started[1].startswith("cards:2 canary: no image has come yet; 20 answers as canary are waited for.")
    assert "5 of 20 answers as canary" in shown
    assert all(guard in shown for guard in ("errors", "confidence", "answers", "failures"))
    assert (told["version"], told["stage"], told["job_id"]) == (CANDIDATE, "canary", None)
    assert told["facts"]["seen"]["trial"]["predictions"] == 5
    assert stopped[0] == 0
    assert "cards:2 stopped: " in stopped[1]
    assert "ended it: not before the holidays" in stopped[1]
    assert rollouts.running(place.engine, "cards") == ()


def test_following_looks_after_it_until_it_is_over(place, kedge):
    kedge("rollout", "start", "2")
    Answers(place).shadow(40, theirs="light", ours="dark")

    code, out, _ = kedge("rollout", "--follow")

    assert code == 0
    assert "cards:2 stopped: it agrees with the champion on 0% of 40 images (overall), below 50%" in out


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["start", "9"], 1, "cards has no version 9; there are: 1, 2."),
        (["start", "1"], 1, "cards:1 is the champion already; there is nothing to roll out."),
        (["start", "2", "--from", "moon"], 2, ""),
        (["gallery"], 1, "No version answers as shadow"),
    ],
)
def test_what_cannot_be_is_said_and_nothing_is_begun(place, kedge, arguments, code, words):
    ended, _, err = kedge("rollout", *arguments)

    assert ended == code
    assert err.startswith(f"kedge: {words}") or not words
    assert rollouts.running(place.engine, "cards") == ()


def test_the_gallery_is_written_where_one_wants_it(place, kedge, tmp_path):
    kedge("rollout", "start", "2")
    answers = Answers(place)
    answers.shadow(10)
    answers.shadow(3, theirs="light", ours="red")

    code, out, _ = kedge("rollout", "gallery", "--output", str(tmp_path / "parted.html"))

    assert (code, out) == (0, f"{tmp_path}/parted.html: they part on 3 of 13 images; 3 are shown.\n")
    page = (tmp_path / "parted.html").read_text()
    assert "Where cards:1 and cards:2 part" in page
    assert page.count("picture not kept") == 3
