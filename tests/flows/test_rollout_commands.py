"""`kedge canary`, `shadow` and `compare`: beside a real service, and beside workers that will not follow."""

import json
import os
import threading
import time
from datetime import timedelta

import httpx
import pytest

from flows import trials
from flows.promote import promote, roll_back
from flows.workplace import open_workplace
from infra import schema
from infra.clock import now
from infra.database import writing
from infra.errors import UserError
from models import rollouts
from tests.service.cards import new_place, picture
from tests.service.served_cards import served_cards, ship

LIGHT = picture((250, 250, 250))


@pytest.fixture
def served(tmp_path):
    with served_cards(tmp_path) as place:
        yield place


@pytest.fixture
def place(tmp_path):
    """A project with a champion and two more versions, and nobody serving."""
    cards = new_place(tmp_path)
    cards.champion()
    for sharpness in (4.0, 2.0):
        cards.version(sharpness=sharpness)
    return open_workplace(cards.settings.root)


def report(place, version=1, *, seen_at=None, **trial):
    """What a serving worker writes about itself."""
    seen = seen_at or now()
    row = {
        "id": "worker-1", "host": os.uname().nodename, "pid": os.getpid(), "slot": "0", "model_name": "cards",
        "version": version, "error": None, "started_at": seen, "seen_at": seen, **trial,
    }  # fmt: skip
    with writing(place.engine) as connection:
        connection.execute(schema.serving_workers.delete())
        connection.execute(schema.serving_workers.insert().values(**row))


def start(place, alias="canary", version=2, wait_s=20.0):
    return trials.start(place, alias, version, share=0.5, actor="ada", reason="test", wait_s=wait_s)


def on_trial(place):
    return [(one.alias, one.version) for one in rollouts.running(place.engine, "cards")]


def test_a_canary_answers_as_soon_as_the_command_is_done_and_no_more_once_it_is_stopped(served, kedge, monkeypatch):
    monkeypatch.chdir(served.settings.root)
    served.version(sharpness=4.0)

    started = kedge("canary", "2", "--share", "1", "--reason", "new camera")
    answered = httpx.post(f"{served.url}/v1/predict", content=LIGHT).json()["model"]
    status = json.loads(kedge("status", "--json")[1])
    read = kedge("status")[1]
    stopped = kedge("canary", "--stop")
    answered_then = httpx.post(f"{served.url}/v1/predict", content=LIGHT).json()["model"]

    words = "cards:2 is the canary: it answers 100 % of the predictions instead of the champion; 1 serving worker(s)"
    assert started[0] == 0
    assert started[1].startswith(words)
    assert [(trial["alias"], trial["version"], trial["share"]) for trial in status["trials"]] == [("canary", 2, 1.0)]
    assert status["service"]["workers"][0]["canary_version"] == 2
    assert "version 2 answers 100 % of the predictions" in read
    assert (stopped[0], stopped[1][:31]) == (0, "The canary cards:2 is ended; 1 ")
    assert (answered, answered_then) == ("cards:2", "cards:1")


def test_a_version_that_a_worker_refuses_ends_the_trial_and_says_why(served, kedge, monkeypatch):
    monkeypatch.chdir(served.settings.root)
    bad = served.version(sharpness=4.0)
    (served.settings.storage.home / "objects" / f"models/cards/{bad}/model.onnx").write_bytes(b"damaged")

    code, out, err = kedge("shadow", "2")

    assert (code, out) == (1, "")
    assert err.startswith("kedge: cards:2 is not on trial as shadow: worker ")
    assert "refused it: version 2 was refused: cards:2 is corrupt" in err
    assert rollouts.running(served.registry.engine, "cards") == ()
    assert httpx.post(f"{served.url}/v1/predict", content=LIGHT).json()["model"] == "cards:1"


@pytest.mark.slow
def test_a_shadow_is_compared_with_the_champion_for_people_and_for_scripts(served, kedge, monkeypatch):
    monkeypatch.chdir(served.settings.root)
    monkeypatch.setenv("KEDGE_DATA__SUBGROUPS", '["camera"]')
    served.version(sharpness=-8.0)
    kedge("shadow", "2")
    ids = [
        httpx.post(f"{served.url}/v1/predict", params={"camera": camera}, content=LIGHT).json()["id"]
        for camera in ["A"] * 30 + ["B"] * 2
    ]
    labels = [{"id": identifier, "label": "light"} for identifier in ids[:5]]
    httpx.post(f"{served.url}/v1/feedback", json=labels).raise_for_status()
    # The shadow answers after the caller got his answer.
    deadline = time.monotonic() + 20
    while len(told := compared_rows(served, kedge)) < len(ids):
        assert time.monotonic() < deadline, told

    (told,) = json.loads(kedge("compare", "--json")[1])
    read = kedge("compare")[1]

    comparison = told["comparison"]
    assert (told["rollout"]["version"], comparison["champion_version"], comparison["version"]) == (2, 1, 2)
    assert (comparison["overall"]["agreement"]["value"], comparison["overall"]["few"]) == (0.0, False)
    assert comparison["overall"]["pairs"] == {"both": 0, "only_champion": 5, "only_trial": 0, "neither": 0}
    assert [(one["value"], one["few"]) for one in comparison["groups"]] == [("A", False), ("B", True)]
    assert comparison["overall"]["trial"]["forward_ms_median"] > 0
    assert "cards:2 is the shadow: it answers 100 % of the images too, and nobody is told." in read
    assert "camera=B (few)" in read
    assert "both were right on 0, only the champion on 5, only the shadow on 0, neither on 0." in read


def compared_rows(served, kedge):
    """As many as have been compared so far."""
    ship(served)
    (told,) = json.loads(kedge("compare", "--json")[1])
    return range(told["comparison"]["overall"]["trial"]["predictions"])


def test_with_nothing_on_trial_the_commands_say_so(place, kedge, monkeypatch):
    monkeypatch.chdir(place.settings.root)

    assert kedge("compare")[1].startswith("Nothing is on trial. `kedge shadow VERSION`")
    assert json.loads(kedge("compare", "--json")[1]) == []
    assert kedge("canary", "--stop") == (0, "No canary is on trial; nothing was changed.\n", "")


def test_before_the_first_answer_a_comparison_says_what_is_waited_for(place, kedge, monkeypatch):
    monkeypatch.chdir(place.settings.root)
    kedge("canary", "2")

    assert "Nothing has reached the tables since then" in kedge("compare")[1]


@pytest.mark.parametrize("arguments", [["canary"], ["canary", "2", "--stop"], ["shadow"], ["shadow", "two"]])
def test_wrong_usage_ends_with_2_and_starts_nothing(place, kedge, monkeypatch, arguments):
    monkeypatch.chdir(place.settings.root)

    assert kedge(*arguments)[0] == 2
    assert on_trial(place) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["canary", "9"], "cards has no version 9; there are: 1, 2, 3."),
        (["shadow", "1"], "Version 1 is the champion already; a shadow is another version beside it."),
        (["canary", "2", "--share", "1.5"], "The canary's share should be over 0 and up to 1; found 1.5."),
        (["canary", "2", "--share", "0"], "The canary's share should be over 0 and up to 1; found 0."),
    ],
)
def test_what_cannot_be_tried_is_said_and_not_started(place, kedge, monkeypatch, arguments, words):
    monkeypatch.chdir(place.settings.root)

    code, _, err = kedge(*arguments)

    assert code == 1
    assert err.startswith(f"kedge: {words}")
    assert on_trial(place) == []


def test_with_nobody_serving_a_trial_is_begun_at_once(place):
    assert start(place).workers == 0
    assert on_trial(place) == [("canary", 2)]


def test_a_start_waits_until_the_worker_has_the_version(place):
    report(place, canary_version=3)

    def follow():
        time.sleep(0.5)
        report(place, canary_version=2)

    worker = threading.Thread(target=follow)
    worker.start()
    trial = start(place)
    worker.join()

    assert trial.workers == 1
    assert trial.seconds >= 0.4


@pytest.mark.parametrize("alias", ["canary", "shadow"])
def test_a_worker_that_does_not_follow_ends_the_trial(place, alias):
    report(place)

    with pytest.raises(UserError, match=f"cards:2 is not on trial as {alias}: worker .* did not take it in time"):
        start(place, alias, wait_s=0.3)

    assert on_trial(place) == []
    assert place.ledger.rows("models")[-1].kind == f"{alias} ended"


def test_a_refusal_is_not_waited_out(place):
    report(place, seen_at=now() + timedelta(seconds=5), rollout_error="version 2 was refused: it is corrupt")

    begun = time.monotonic()

    with pytest.raises(UserError, match="refused it: version 2 was refused: it is corrupt"):
        start(place, wait_s=60)

    assert time.monotonic() - begun < 50


def test_what_a_worker_refused_before_or_of_another_version_does_not_count(place):
    report(place, seen_at=now() - timedelta(seconds=1), rollout_error="version 2 was refused: it is corrupt")

    def follow():
        time.sleep(0.3)
        report(place, rollout_error="version 21 was refused: it is corrupt")
        time.sleep(0.3)
        report(place, canary_version=2)

    worker = threading.Thread(target=follow)
    worker.start()
    trial = start(place)
    worker.join()

    assert trial.workers == 1


def test_somebody_elses_later_trial_is_not_ended(place):
    report(place)

    def choose():
        time.sleep(0.2)
        rollouts.start(place.engine, "cards", "canary", 3, share=0.1, actor="bob", reason="no, this one")

    other = threading.Thread(target=choose)
    other.start()
    with pytest.raises(UserError, match="cards:2 is not on trial"):
        start(place, wait_s=0.8)
    other.join()

    assert on_trial(place) == [("canary", 3)]


def test_two_processes_that_put_a_version_on_trial_at_once_leave_one_row(place):
    report(place, canary_version=2)
    both = [threading.Thread(target=start, args=(place,)) for _ in range(2)]

    for one in both:
        one.start()
    for one in both:
        one.join()

    assert [row.kind for row in place.ledger.rows("models")].count("canary started") == 1
    (trial,) = rollouts.running(place.engine, "cards")
    assert start(place).rollout == trial
    assert rollouts.start(place.engine, "cards", "canary", 2, share=0.1, actor="ada", reason="less").share == 0.1


def test_a_worker_that_holds_on_is_named_and_the_trial_is_over(place):
    start(place)
    report(place, canary_version=2)

    with pytest.raises(UserError, match=r"The canary cards:2 is ended, but worker .* still holds it\."):
        trials.end(place, "canary", actor="ada", reason="enough", wait_s=0.3)

    assert on_trial(place) == []


def test_what_becomes_champion_is_no_longer_on_trial_and_the_rest_is(place):
    start(place, "canary", 2)
    start(place, "shadow", 3)

    promote(place, 2, actor="ada", reason="better")

    assert on_trial(place) == [("shadow", 3)]
    kinds = [row.kind for row in place.ledger.rows("models")]
    assert kinds[-2:] == ["promoted", "canary ended"]


def test_a_rollback_to_what_is_on_trial_ends_the_trial(place):
    promote(place, 2, actor="ada", reason="better")
    start(place, "shadow", 1)

    roll_back(place, actor="ada", reason="worse after all")

    assert on_trial(place) == []


def test_a_promotion_that_is_put_back_leaves_the_trial_alone(place):
    start(place, "canary", 2)
    report(place)

    with pytest.raises(UserError, match="cards:2 was not promoted"):
        promote(place, 2, actor="ada", reason="better", wait_s=0.3)

    assert on_trial(place) == [("canary", 2)]
