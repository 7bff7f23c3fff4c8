"""Labels that an undecided candidate waits for: which predictions are asked about, favouring neither model."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from infra.ledger import Ledger
from infra.secret_keys import secret_key
from models.examples import role_of
from models.gate_needs import LabelNeed
from models.gate_records import DIFFERENT, CheckRow, GateDecision, Objection
from models.noninferiority import PairedCounts, no_worse
from models.prediction import ShadowAnswer
from models.registry import Registry
from monitoring.labelling.requests import ANSWERED, ASKED, GATE, SKIPPED, LabelRequest
from monitoring.labelling.rows import requests
from monitoring.labelling.waiting import Seen, Waiting, came, waiting, waiting_version, wanted
from monitoring.watch import tick
from tests.monitoring.birds import BIRDS
from tests.monitoring.test_label_requests import recent

KEY = b"0123456789abcdef"
NOON = datetime(2026, 11, 21, 12, tzinfo=UTC)


def undecided(*needs: LabelNeed) -> dict:
    objections = tuple(
        Objection("undecided", "recall", one.scope, one.group, "…", one.labels, one.different) for one in needs
    )
    checks = (CheckRow("recall", "old", "overall", 10, 0.0, 0.1, 0.05, "judged", "undecided", 9),)
    return GateDecision("undecided", False, objections, checks, (), ()).to_json()


def seen(count: int, **changes) -> Seen:
    chance = np.random.default_rng(0)
    said = [BIRDS[number] for number in chance.integers(0, 3, count)]
    whole = Seen(
        ids=[str(number) for number in range(count)], groups=[f"g{number}" for number in range(count)], answers=said,
        shadow=[BIRDS[number] for number in chance.integers(0, 3, count)], drifted=np.zeros(count, dtype=bool),
    )  # fmt: skip
    return replace(whole, **changes)


def judging(given: Seen) -> np.ndarray:
    return np.array([role_of(group, KEY) == "judge" for group in given.groups])


def test_only_pictures_that_can_judge_are_asked_about():
    given = seen(400)

    found = wanted(Waiting(2, (LabelNeed("overall", "recent", 50),)), given, KEY)

    assert ((found.weights > 0) == judging(given)).all()
    assert found.weights.sum() == pytest.approx(50)
    assert found.most == 50


def test_of_a_class_those_are_asked_about_that_either_model_says_it_is():
    given = seen(600)

    found = wanted(Waiting(2, (LabelNeed("class=duck", "recent", 50),)), given, KEY)

    either = np.array(
        [one == "duck" or other == "duck" for one, other in zip(given.answers, given.shadow, strict=True)]
    )
    assert ((found.weights > 0) == (judging(given) & either)).all()
    assert {one["group"] for one in found.purposes if one} == {"class=duck"}


def test_a_gain_is_looked_for_where_the_two_answer_differently():
    given = seen(600, shadow=["" if number < 200 else "duck" for number in range(600)])

    found = wanted(Waiting(2, (LabelNeed("overall", "recent", 300, 30),)), given, KEY)

    different = np.array([number >= 200 and said != "duck" for number, said in enumerate(given.answers)])
    unseen = np.arange(600) < 200
    assert ((found.weights > 0) == (judging(given) & (different | unseen))).all()
    assert found.weights[different].sum() == pytest.approx(30)
    assert {found.purposes[row]["group"] for row in np.flatnonzero(found.weights * different)} == {DIFFERENT}
    assert {found.purposes[row]["group"] for row in np.flatnonzero(found.weights * unseen)} == {"overall"}


def test_what_people_cannot_label_in_time_takes_no_label_from_what_they_can():
    class Version:
        version = 2
        gate = undecided(
            LabelNeed("overall", "old", 3_334),
            LabelNeed("overall", "recent", 200, 40),
            LabelNeed("class=owl", "old", 90),
        )

    def groups(per_day):
        return [(one.group, one.scope) for one in waiting(Version, (), 14.0 * per_day).needs]

    assert groups(20) == [("class=owl", "old"), ("overall", "recent")]
    assert groups(1_000) == [("class=owl", "old"), ("overall", "recent"), ("overall", "old")]
    # Where nothing can be had, everything is tried.
    assert groups(1) == groups(1_000)


def test_where_as_many_are_needed_of_any_image_nobody_looks_for_those_answered_differently():
    given = seen(400)

    found = wanted(Waiting(2, (LabelNeed("overall", "recent", 50, 45),)), given, KEY)

    assert {one["group"] for one in found.purposes if one} == {"overall"}
    assert ((found.weights > 0) == judging(given)).all()


def test_a_label_of_an_image_answered_differently_counts_for_as_many_of_any_image_as_it_saves():
    need = LabelNeed("overall", "recent", 300, 30)

    class Version:
        version, gate = 2, undecided(need)

    asked = [request(ANSWERED, DIFFERENT, "duck")] * 29 + [request(ASKED, "overall")] * 5

    assert came(asked, 2, need) == 290
    assert came([*asked, request(ANSWERED, DIFFERENT, "owl")], 2, need) == 300
    assert [(one.labels, one.different) for one in waiting(Version, asked, most=280).needs] == [(5, 1)]
    assert came(asked, 2, LabelNeed("overall", "recent", 300)) == 0


def test_without_the_candidates_own_answers_every_picture_has_the_same_chance_and_counts_for_all():
    given = seen(400, shadow=[""] * 400)

    found = wanted(Waiting(2, (LabelNeed("class=duck", "recent", 50),)), given, KEY)

    assert ((found.weights > 0) == judging(given)).all()
    assert len(set(found.weights[found.weights > 0])) == 1
    assert {one["group"] for one in found.purposes if one} == {"overall"}


def test_labels_of_the_old_world_are_asked_where_nothing_has_drifted_and_of_a_subgroup_from_that_alone():
    camera = ["A", "B"] * 200
    given = seen(400, drifted=np.arange(400) < 200, columns={"camera": camera})

    found = wanted(Waiting(2, (LabelNeed("camera=A", "old", 30),)), given, KEY)

    rows = np.flatnonzero(found.weights)
    assert (rows >= 200).all()
    assert {camera[row] for row in rows} == {"A"}


def test_labels_drawn_by_the_champions_answer_alone_would_refuse_the_harmless():
    """Two models equally good; the class's images as each way of drawing would bring them."""
    chance, passed = np.random.default_rng(3), {"champion": 0, "either": 0}
    for _ in range(300):
        truth = np.ones(1_500, dtype=bool)
        kinds = chance.choice(4, size=1_500, p=[0.88, 0.03, 0.03, 0.06])  # both right, lost, won, both wrong
        champion, candidate = truth & ((kinds == 0) | (kinds == 1)), truth & ((kinds == 0) | (kinds == 2))
        for way, drawn in (("champion", champion), ("either", champion | candidate)):
            lost, won = (champion & ~candidate & drawn).sum(), (~champion & candidate & drawn).sum()
            passed[way] += no_worse(PairedCounts(int(drawn.sum()), int(lost), int(won)), 0.03)

    assert passed["champion"] / 300 < 0.1
    assert passed["either"] / 300 > 0.9


def request(state: str, group: str, label: str | None = None, scope: str = "recent") -> LabelRequest:
    return LabelRequest(
        "birds", f"{state} {group} {label}", NOON, NOON, 1, GATE, 0.5, 0.1, False, "poisson-1", state, label=label,
        facts={"gate": {"version": 2, "group": group, "scope": scope}},
    )  # fmt: skip


def test_what_was_asked_is_not_asked_again_and_what_proved_another_class_does_not_count():
    class Version:
        version, gate = 2, undecided(LabelNeed("class=duck", "recent", 10), LabelNeed("overall", "old", 4))

    asked = [
        request(ASKED, "class=duck"),
        request(ANSWERED, "class=duck", "duck"),
        request(ANSWERED, "class=duck", "owl"),
        request(SKIPPED, "class=duck"),
        request(ANSWERED, "overall", "duck"),
        request(ANSWERED, "overall", "owl", scope="old"),
    ]

    left = {(one.group, one.scope): one.labels for one in waiting(Version, asked, most=280).needs}

    assert left == {("class=duck", "recent"): 7, ("overall", "old"): 3}


def test_a_picture_that_came_before_is_one_label_however_often_it_comes():
    need = LabelNeed("class=duck", "recent", 10)
    first = request(ANSWERED, "class=duck", "duck")
    again = [replace(first, prediction_id=f"again {number}", same_as=first.prediction_id) for number in range(9)]

    class Version:
        version, gate = 2, undecided(need)

    assert came([first, *again], 2, need) == 1
    assert waiting(Version, [first, *again], most=280).needs[0].labels == 9


def register(registry: Registry, folder, gate: dict, parent: int = 1):
    for file in ("model.onnx", "model.safetensors", "artifact.json"):
        folder.mkdir(exist_ok=True)
        (folder / file).write_bytes(f"{file} of a candidate".encode())
    return registry.register(folder, reason="harm", parent_version=parent, gate=gate, state="waiting")


def test_a_look_asks_for_what_the_candidate_waits_for_while_it_is_in_shadow(open_station, birds, tmp_path):
    station = open_station(labels__per_day=4_800)
    secret_key(station.place.engine, "roles", lambda: KEY)
    register(station.place.registry, tmp_path / "candidate", undecided(LabelNeed("class=duck", "recent", 15)))
    rows = recent(birds.traffic(600)[0])
    station.arrive(rows)
    answers = [
        ShadowAnswer(row.id, row.at, 1, row.label, 0.9, 1.0, 2, row.label if number % 9 else "duck", 0.6, 1.0)
        for number, row in enumerate(rows)
    ]
    station.place.log.append_shadows("shadow-0", 1, list(enumerate(answers)))

    tick(station.place)

    asked = [one for one in requests(station.place.engine, station.place.name) if one.stratum == GATE]
    said = {one.id: one.label for one in answers}
    assert 3 <= len(asked) <= 25
    for one in asked:
        assert one.facts["gate"] == {"version": 2, "group": "class=duck", "scope": "recent"}
        assert "duck" in (one.facts["answer"], said[one.prediction_id])
        assert role_of(one.image_sha256, KEY) == "judge"


def test_only_the_newest_waiting_candidate_of_this_champion_with_a_reading_left_waits(open_station, tmp_path):
    registry = open_station().place.registry
    gate = undecided(LabelNeed("overall", "recent", 15))
    other = register(registry, tmp_path / "other", gate, parent=7)
    none = waiting_version(registry, 1)
    version = register(registry, tmp_path / "candidate", gate)
    first = waiting_version(registry, 1)
    for _ in range(2):
        facts = {"onnx_sha256": version.onnx_sha256, "champion": 1, "old": {"fingerprint": "x"}, "recent": None}
        Ledger(registry.engine).append("judge-readings", "reading", facts)

    assert (other.version, none) == (2, None)
    assert first.version == version.version
    assert waiting_version(registry, 1) is None


def test_half_a_day_of_looks_brings_no_more_than_the_need(open_station, birds, tmp_path):
    station = open_station(labels__per_day=9_600)
    secret_key(station.place.engine, "roles", lambda: KEY)
    register(station.place.registry, tmp_path / "candidate", undecided(LabelNeed("overall", "recent", 6)))
    for part in range(4):
        station.arrive([replace(row, at=row.at - timedelta(seconds=part)) for row in recent(birds.traffic(200)[0])])
        tick(station.place)

    asked = [one for one in requests(station.place.engine, station.place.name) if one.stratum == GATE]
    assert 3 <= len(asked) <= 14
