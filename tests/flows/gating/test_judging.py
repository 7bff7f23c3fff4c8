"""Judging: who answers which images, against whom a candidate is held, and what is written down of it."""

from dataclasses import replace

import pytest

from flows.gating.anchor import earlier_champions
from flows.gating.readings import AGAIN, READING, STREAM
from flows.judging import judge
from tests.flows.gating.opinions import THREE, TWO, card, cards, judged_on, open_project, reader, registered

RED, GREEN, BLUE = 0, 1, 2


@pytest.fixture
def place(tmp_path):
    return open_project(tmp_path / "project", "[labels]\nper_day = 0\n")


def test_the_anchor_is_the_earlier_champion_that_does_best_on_the_images_that_judge_now(place, tmp_path):
    # The second champion scored higher when it was judged, on easier images; on these the first is better.
    flattered = {"accuracy": 0.99}
    registered(place, reader(tmp_path / "a", GREEN), scorecard={"accuracy": 0.90})
    registered(place, reader(tmp_path / "b", BLUE), scorecard=flattered)
    champion = registered(place, reader(tmp_path / "c", RED, mark=0.1), scorecard={"accuracy": 0.9})
    old = cards(tmp_path / "cards", 400, wrong=(0.2, 0.0, 0.4))

    judged = judge(place, reader(tmp_path / "d", RED, mark=0.2), judged_on(old), champion, "manual")

    anchor = next(one for one in judged.decision.checks if one.name == "anchor")
    assert anchor.result == "failed"
    assert anchor.loss == pytest.approx(0.2, abs=0.06)
    assert judged.decision.outcome == "reject"


def test_of_many_earlier_champions_the_first_and_the_newest_seven_may_be_the_anchor(place, tmp_path):
    for number in range(10):
        champion = registered(place, reader(tmp_path / str(number), RED, mark=number / 100))

    assert [version.version for version in earlier_champions(place, champion)] == [1, 3, 4, 5, 6, 7, 8, 9]


def test_an_earlier_champion_whose_files_are_gone_is_no_anchor_and_stops_nothing(place, tmp_path):
    gone = registered(place, reader(tmp_path / "a", GREEN))
    champion = registered(place, reader(tmp_path / "b", RED))
    place.objects.delete(f"{gone.artifact_prefix}/model.onnx")
    old = cards(tmp_path / "cards", 60, wrong=(0.0, 0.0, 0.0))

    judged = judge(place, reader(tmp_path / "c", RED, mark=0.1), judged_on(old), champion, "manual")

    assert not any(one.name == "anchor" for one in judged.decision.checks)


def test_every_reading_leaves_a_row_and_the_same_images_again_are_the_same_reading(place, tmp_path):
    champion = registered(place, reader(tmp_path / "a", GREEN))
    candidate, old = reader(tmp_path / "b", RED), cards(tmp_path / "cards", 60, wrong=(0.0, 0.0, 0.0))

    first = judge(place, candidate, judged_on(old), champion, "manual")
    again = judge(place, candidate, judged_on(old), champion, "manual")
    more = judge(place, candidate, judged_on(old[:50]), champion, "manual")

    assert [row.kind for row in place.ledger.rows(STREAM)] == [READING, AGAIN, READING]
    assert first.decision == replace(again.decision, notes=first.decision.notes)
    assert "already read 1 times for this candidate" in more.decision.words()[1]


def test_where_labels_are_asked_for_a_second_reading_is_planned_and_a_third_refused(tmp_path):
    place = open_project(tmp_path / "project")
    champion = registered(place, reader(tmp_path / "a", GREEN))
    candidate, old = reader(tmp_path / "b", RED), cards(tmp_path / "cards", 60, wrong=(0.0, 0.0, 0.0))

    outcomes = [judge(place, candidate, judged_on(old[:size]), champion, "manual").decision for size in (40, 50, 60)]

    assert any("Reading 2 of 2 planned" in note for note in outcomes[1].notes)
    assert [one.outcome for one in outcomes] == ["undecided", "undecided", "reject"]


def test_a_candidate_with_a_new_class_is_compared_on_the_shared_ones_and_held_to_the_floors_on_the_new(place, tmp_path):
    champion = registered(place, reader(tmp_path / "a", RED, TWO))
    candidate = reader(tmp_path / "b", GREEN, THREE)
    old = cards(tmp_path / "cards", 600, wrong=(0.02, 0.02, 0.02), classes=TWO)
    new = [one for one in cards(tmp_path / "new", 90, (0.0, 0.1, 0.0), THREE, seed=1) if one.label == "grey"]

    judged = judge(place, candidate, judged_on(old, new, THREE), champion, "classes").decision

    overall = next(one for one in judged.checks if one.name == "accuracy" and one.group == "overall")
    floors = [one for one in judged.checks if one.group == "class=grey"]
    assert overall.images == 600
    assert {one.name for one in floors} == {"precision floor", "recall floor"}
    assert all(one.images == 30 and one.result == "passed" for one in floors)
    assert any("held against the floors alone: grey" in note for note in judged.notes)


def test_a_new_class_that_is_not_recognised_is_refused_and_one_with_few_images_is_undecided(place, tmp_path):
    champion = registered(place, reader(tmp_path / "a", RED, TWO))
    old = cards(tmp_path / "cards", 600, wrong=(0.0, 0.0, 0.0), classes=TWO)
    hard = [one for one in cards(tmp_path / "new", 90, (0.0, 0.9, 0.0), THREE, seed=1) if one.label == "grey"]

    blind = judge(place, reader(tmp_path / "b", GREEN, THREE), judged_on(old, hard, THREE), champion, "classes")
    few = judge(place, reader(tmp_path / "c", RED, THREE), judged_on(old, hard[:4], THREE), champion, "classes")

    assert blind.decision.outcome == "reject"
    assert any(one.group == "class=grey" for one in blind.decision.objections)
    assert few.decision.outcome == "undecided"
    assert any("about 6 more labels of it are needed" in one.words for one in few.decision.objections)


def test_a_candidate_that_lacks_a_class_of_the_champion_is_said_not_to_be_comparable(place, tmp_path):
    champion = registered(place, reader(tmp_path / "a", RED, THREE))
    old = cards(tmp_path / "cards", 120, wrong=(0.0, 0.0, 0.0), classes=TWO)

    judged = judge(place, reader(tmp_path / "b", GREEN, TWO), judged_on(old), champion, "manual").decision

    assert any("cards:1 knows a class that the candidate lacks" in note for note in judged.notes)


def test_cards_are_read_as_the_test_believes(tmp_path):
    # The other tests rest on it.
    from models.evaluation import evaluate
    from models.runtime import Runtime

    old = cards(tmp_path / "cards", 300, wrong=(0.0, 0.3, 1.0), classes=THREE)
    right = {}
    for channel in (RED, GREEN, BLUE):
        judged = evaluate(Runtime.open(reader(tmp_path / str(channel), channel, THREE)), old)
        right[channel] = (judged.labels == judged.predictions).mean()

    assert right[RED] == 1.0
    assert right[GREEN] == pytest.approx(0.7, abs=0.08)
    assert right[BLUE] == 0.0
    assert len({card(("dark",) * 3, number) for number in range(20)}) == 20
