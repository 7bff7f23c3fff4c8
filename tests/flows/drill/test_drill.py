"""`kedge drill` with a real service of its own, beside a project that must not notice."""

import json

import numpy as np
import psutil
import pytest

from flows.drill import rehearsal
from flows.workplace import open_workplace
from infra.errors import UserError
from models.golden import check_golden
from models.runtime import Runtime
from models.spoiled import spoil
from tests.service.cards import new_place, write_candidate


def test_a_spoiled_copy_takes_every_class_for_the_next_and_is_otherwise_whole(tmp_path):
    sound = write_candidate(tmp_path / "sound")

    spoiled = spoil(sound, tmp_path / "spoiled")

    one, other = Runtime.open(sound), Runtime.open(spoiled)
    squares = np.random.default_rng(0).normal(0, 1, (7, 3, 16, 16)).astype(np.float32)
    before, after = one.run(squares), other.run(squares)
    assert np.array_equal(np.roll(before.logits, 1, axis=1), after.logits)
    assert np.array_equal(before.embedding, after.embedding)
    assert check_golden(other).gap is not None


@pytest.mark.slow
def test_a_drill_proves_the_way_back_and_the_project_notices_nothing(tmp_path):
    made = new_place(tmp_path)
    made.champion()
    place = open_workplace(made.settings.root)
    said = []

    done = rehearsal.drill(place, said.append)

    assert [act.name for act in done.acts] == ["canary", "promotion"]
    assert done.workers == 2
    assert all(0 < act.bad_answers <= 200 for act in done.acts)
    assert "as canary" in done.acts[0].words
    assert "since its promotion" in done.acts[1].words
    (row,) = place.ledger.rows("drills")
    assert (row.kind, row.facts["acts"][1]["bad_answers"]) == ("drill passed", done.acts[1].bad_answers)
    assert [promotion.version for promotion in place.registry.champions.history()] == [1]
    assert not (place.settings.storage.home / "drill").exists()
    left = [one.pid for one in psutil.process_iter(["cwd"]) if str(tmp_path) in (one.info["cwd"] or "")]
    assert not left, "nothing of it runs on"


@pytest.mark.slow
def test_a_drill_whose_guards_are_blind_fails_and_says_so(tmp_path, monkeypatch):
    made = new_place(tmp_path)
    made.champion()
    place = open_workplace(made.settings.root)
    monkeypatch.setattr(rehearsal, "_MOST_ANSWERS", 5)

    with pytest.raises(UserError, match=r"The drill failed: after \d+ bad answers no guard had tripped"):
        rehearsal.drill(place, lambda words: None)

    assert [row.kind for row in place.ledger.rows("drills")] == ["drill failed"]
    assert "no guard had tripped" in json.dumps(dict(place.ledger.rows("drills")[0].facts))


def test_without_a_champion_there_is_nothing_to_rehearse_with(tmp_path):
    place = open_workplace(new_place(tmp_path).settings.root)

    with pytest.raises(UserError, match="There is no champion to rehearse with"):
        rehearsal.drill(place, lambda words: None)
