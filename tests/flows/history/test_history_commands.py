"""`kedge models` and `kedge models history`: the versions there are, and which one answered when."""

import json

from models import rollouts


def test_without_another_word_the_versions_are_listed_as_ever(kedge, make):
    make("train", "first")

    code, out, _ = kedge("models")
    as_json = kedge("models", "--json")[1]

    assert code == 0
    assert "registered" in out
    assert [(one["version"], one["reason"]) for one in json.loads(as_json)] == [(1, "first")]


def test_before_the_first_champion_there_is_nothing_and_a_way_on(kedge):
    code, out, _ = kedge("models", "history")

    assert code == 0
    assert "There has been no champion yet. `kedge train` makes the first model." in out


def test_every_champion_is_shown_with_who_moved_it_why_and_what_was_tried_beside_it(kedge, place, make):
    make("train", "first")
    place.registry.champions.promote(1, actor="kedge train", reason="first model")
    make()
    rollouts.start(place.engine, place.settings.project.name, "canary", 2, share=0.1, actor="ada", reason="new camera")
    rollouts.end(place.engine, place.settings.project.name, "canary", actor="ada", reason="enough")
    place.registry.champions.promote(2, actor="ada", reason="it [clearly] wins")
    place.registry.champions.rollback(actor="bob", reason="wrong on hall 3")

    code, out, _ = kedge("models", "history")

    lines = [" ".join(line.split()) for line in out.splitlines()]
    assert code == 0
    assert any("version 1 promoted by kedge train; the gate said promote [models#2" in line for line in lines)
    assert any("version 2 was canary for 10 % by ada (new camera) [models#4" in line for line in lines)
    assert any("version 2 promoted by ada; the gate said promote [models#6" in line for line in lines)
    assert [line for line in lines if line in ("first model", "it [clearly] wins", "wrong on hall 3")] == [
        "first model", "it [clearly] wins", "wrong on hall 3"
    ]  # fmt: skip
    assert any("to now version 1 rolled back by bob; the gate said promote [models#7" in line for line in lines)


def test_as_json_each_reign_ends_where_the_next_begins(kedge, place, make):
    make("train", "first")
    make()
    for version in (1, 2, 1):
        place.registry.champions.promote(version, actor="ada", reason="by hand")

    line = json.loads(kedge("models", "history", "--json")[1])

    reigns = line["reigns"]
    assert [one["version"] for one in reigns] == [1, 2, 1]
    assert [one["until"] for one in reigns] == [reigns[1]["since"], reigns[2]["since"], None]
    assert line["problems"] == []
