"""Promotion waits for the workers that serve, and puts the pointer back when one will not follow."""

import os
import threading
import time
from datetime import timedelta
from pathlib import Path

import pytest

from flows.promote import promote, roll_back
from flows.workplace import Workplace, open_workplace
from infra import schema
from infra.clock import now
from infra.database import writing
from infra.errors import UserError


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    place = open_workplace(tmp_path)
    candidate = tmp_path / "candidate"
    candidate.mkdir()
    for version in (1, 2):
        for name in ("model.onnx", "model.safetensors", "artifact.json"):
            (candidate / name).write_bytes(f"{name} of {version}".encode())
        place.registry.register(candidate, reason="test", parent_version=None)
    return place


def report(place: Workplace, version: int | None, *, error: str | None = None, seconds_ago: float = 0) -> None:
    """What a serving worker writes about itself."""
    seen = now() - timedelta(seconds=seconds_ago)
    row = {
        "id": "worker-1", "host": os.uname().nodename, "pid": os.getpid(), "slot": "0", "model_name": "classifier",
        "version": version, "error": error, "started_at": seen, "seen_at": seen,
    }  # fmt: skip
    with writing(place.engine) as connection:
        connection.execute(schema.serving_workers.delete())
        connection.execute(schema.serving_workers.insert().values(**row))


def test_with_nobody_serving_a_promotion_is_done_at_once(place):
    rollout = promote(place, 1, actor="ada", reason="first")

    assert rollout.workers == 0
    assert place.registry.champions.current() == 1


def test_a_worker_that_was_last_seen_long_ago_is_not_waited_for(place):
    report(place, None, seconds_ago=60)

    assert promote(place, 1, actor="ada", reason="first").workers == 0


def test_a_promotion_waits_until_the_worker_answers_with_the_version(place):
    promote(place, 1, actor="ada", reason="first")
    report(place, 1)

    def follow() -> None:
        time.sleep(0.5)
        report(place, 2)

    worker = threading.Thread(target=follow)
    worker.start()
    rollout = promote(place, 2, actor="ada", reason="better", wait_s=20)
    worker.join()

    assert rollout.workers == 1
    assert rollout.seconds >= 0.4
    assert [promotion.version for promotion in place.registry.champions.history()] == [1, 2]


def test_a_worker_that_does_not_follow_puts_the_pointer_back(place):
    promote(place, 1, actor="ada", reason="first")
    report(place, 1)

    with pytest.raises(UserError, match="classifier:2 was not promoted, classifier:1 stays champion"):
        promote(place, 2, actor="ada", reason="better", wait_s=0.3)

    assert place.registry.champions.current() == 1
    assert [promotion.version for promotion in place.registry.champions.history()] == [1, 2, 1]


def test_what_was_put_back_is_no_way_back(place):
    promote(place, 1, actor="ada", reason="first")
    report(place, 1, error="version 2 was refused: it is corrupt")

    with pytest.raises(UserError, match=r"classifier:1 stays champion: worker .* refused it"):
        promote(place, 2, actor="ada", reason="better", wait_s=20)
    with pytest.raises(UserError, match="no version was champion before"):
        roll_back(place, actor="ada", reason="where to?")

    assert place.ledger.rows("models")[-1].kind == "put back"


def test_a_later_choice_of_somebody_else_is_not_put_back(place):
    promote(place, 1, actor="ada", reason="first")
    stale = place.registry.champions.promote(2, actor="ada", reason="better")
    place.registry.champions.promote(1, actor="bob", reason="no, this one")

    assert place.registry.champions.put_back(stale, actor="kedge", reason="nobody took it") is None
    assert [promotion.version for promotion in place.registry.champions.history()] == [1, 2, 1]


def test_a_version_that_is_not_there_moves_nothing(place):
    with pytest.raises(UserError, match=r"classifier has no version 7; there are: 1, 2\."):
        promote(place, 7, actor="ada", reason="oops")

    assert place.registry.champions.current() is None


def test_rolling_back_returns_to_the_champion_before(place):
    promote(place, 1, actor="ada", reason="first")
    promote(place, 2, actor="ada", reason="better")

    roll_back(place, actor="ada", reason="not so good after all")

    assert place.registry.champions.current() == 1
    states = {version.version: version.state for version in place.registry.versions()}
    assert states == {1: "champion", 2: "retired"}
