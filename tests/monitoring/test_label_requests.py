"""Labels that the watcher asks for: from new predictions to rows, answers, and evidence of harm."""

from dataclasses import replace
from datetime import timedelta

import numpy as np
import pytest
import sqlalchemy as sa

from infra import schema
from infra.clock import new_id, now
from infra.database import writing
from infra.ledger import Ledger
from models.prediction import Prediction, ShadowAnswer
from monitoring import history
from monitoring.labelling import planning as label_planning
from monitoring.labelling.requests import ANSWERED, ASKED, AUDIT, DRIFTED, OVERDUE, SKIPPED
from monitoring.labelling.rows import audit_key, newest_plan, requests, skip
from monitoring.labels import hashes
from monitoring.watch import tick
from tests.monitoring.birds import Birds, bird_profile

# So many labels a day that every prediction is asked about.
ALL = {"labels__per_day": 10_000_000, "labels__audit_share": 1.0, "monitor__feedback_is_random": "false"}


def asked(station, *states):
    return requests(station.place.engine, station.place.name, states)


def recent(rows: list[Prediction]) -> list[Prediction]:
    """The same traffic, as if its last prediction had just been made."""
    moved = now() - timedelta(minutes=5) - rows[-1].at
    return [replace(row, at=row.at + moved, id=new_id(row.at + moved)) for row in rows]


def test_a_look_asks_for_labels_and_a_second_one_asks_for_nothing_more(open_station, birds):
    station = open_station(labels__per_day=2_400)
    station.arrive(recent(birds.traffic(400)[0]))

    tick(station.place)
    first = asked(station)
    tick(station.place)

    assert 20 < len(first) < 200
    assert asked(station) == first
    assert {one.state for one in first} == {ASKED}
    assert all(0 < one.uniform_probability <= one.probability <= 1 for one in first)
    plan = newest_plan(station.place.engine, station.place.name)
    assert (plan["sequence"], plan["predictions"], plan["asked"]) == (1, 400, len(first))
    row = Ledger(station.place.engine).rows("labels")[-1]
    assert (row.kind, sum(row.facts["asked"].values())) == ("asked", len(first))


def test_the_audit_is_as_the_key_and_the_probability_say(open_station, birds):
    station = open_station(labels__per_day=2_400)
    rows = recent(birds.traffic(400)[0])
    station.arrive(rows)

    tick(station.place)

    drawn, _ = hashes([row.id for row in rows], audit_key(station.place.engine))
    uniform = newest_plan(station.place.engine, station.place.name)["uniform_probability"]
    expected = {row.id for row, value in zip(rows, drawn, strict=True) if value < uniform}
    assert {one.prediction_id for one in asked(station) if one.in_audit} == expected
    assert len(expected) > 5


def test_the_probability_of_the_next_plan_was_fixed_by_the_traffic_before_it(open_station, birds):
    station = open_station(labels__per_day=2_400)
    station.arrive(recent(birds.traffic(200)[0]))
    tick(station.place)
    before = newest_plan(station.place.engine, station.place.name)

    station.arrive(recent(birds.traffic(20)[0]))
    tick(station.place)

    plan = newest_plan(station.place.engine, station.place.name)
    assert plan["sequence"] == 2
    assert plan["predictions"] == 20
    assert plan["uniform_probability"] == pytest.approx(0.4 * 2_400 / before["pace_per_day"])


def test_the_new_camera_gets_the_targeted_labels_and_the_audit_does_not_look_at_it(open_station, birds):
    station = open_station(labels__per_day=2_400)
    station.arrive(recent([*birds.traffic(340)[0], *birds.traffic(60, camera="C", strange=True)[0]]))

    tick(station.place)

    drifted = [one for one in asked(station) if one.stratum == DRIFTED]
    assert len(drifted) >= 10
    assert all(one.facts["drifted"] for one in drifted)
    assert all(one.probability > 3 * one.uniform_probability for one in drifted)


def test_where_the_shadow_disagrees_a_person_is_asked(open_station, birds):
    station = open_station(labels__per_day=4_800)
    rows = recent(birds.traffic(400)[0])
    station.arrive(rows)
    answers = [
        ShadowAnswer(row.id, row.at, 1, row.label, 0.9, 1.0, 2, "duck" if row.label != "duck" else "owl", 0.6, 1.0)
        for row in rows[:4]
    ]
    same = [ShadowAnswer(row.id, row.at, 1, row.label, 0.9, 1.0, 2, row.label, 0.6, 1.0) for row in rows[4:50]]
    station.place.log.append_shadows("shadow-0", 1, list(enumerate([*answers, *same])))

    tick(station.place)

    assert {one.prediction_id for one in asked(station) if one.facts["disagrees"]} == {row.id for row in rows[:4]}


def test_pictures_that_were_not_kept_are_not_asked_about_and_are_counted(open_station, birds):
    station = open_station(**ALL)
    rows = birds.traffic(60)[0]
    station.arrive([*rows[:40], *(replace(row, image_kept=False) for row in rows[40:])])

    tick(station.place)

    assert {one.prediction_id for one in asked(station)} == {row.id for row in rows[:40]}
    assert newest_plan(station.place.engine, station.place.name)["not_kept"] == 20


def test_of_a_burst_one_is_asked_about_even_when_it_comes_in_two_parts(open_station, birds):
    station = open_station(data__group="session", **ALL)
    rows = recent(birds.traffic(200)[0])
    noon = rows[0].at.replace(second=0, microsecond=0)
    burst = [replace(row, at=noon, metadata={**row.metadata, "session": "s1"}) for row in rows[:100]]
    station.arrive(burst[:50], spool="worker-0")
    station.arrive(burst[50:], spool="worker-1")

    tick(station.place)

    (one,) = asked(station)
    assert one.facts["copies"] == 100
    assert one.probability == pytest.approx(1 / 100)


def test_a_minute_that_is_not_over_waits_for_the_rest_of_its_session(open_station, birds):
    station = open_station(data__group="session", **ALL)
    old, young = birds.traffic(2)[0]
    station.arrive([replace(old, at=now() - timedelta(minutes=10)), replace(young, at=now() - timedelta(seconds=20))])

    tick(station.place)

    assert [one.prediction_id for one in asked(station)] == [old.id]


def test_a_clock_that_runs_ahead_does_not_hide_its_predictions(open_station, birds):
    station = open_station(data__group="session", **ALL)
    first, second = birds.traffic(2)[0]
    station.arrive([replace(first, at=now() + timedelta(days=2)), replace(second, at=now() - timedelta(seconds=1))])

    tick(station.place)

    assert {one.prediction_id for one in asked(station)} == {first.id, second.id}


def test_the_same_picture_is_looked_at_once_and_answers_for_all(open_station, birds):
    station = open_station(**ALL)
    rows = [replace(row, image_sha256="f" * 64, label="crow") for row in birds.traffic(30)[0]]
    station.arrive(rows)
    tick(station.place)
    first = [one for one in asked(station) if one.same_as is None]

    station.label([row for row in rows if row.id == first[0].prediction_id], ["owl"])
    tick(station.place)
    station.arrive([replace(row, image_sha256="f" * 64, label="crow") for row in birds.traffic(10)[0]])
    tick(station.place)

    assert len(first) == 1
    assert len(asked(station)) == 40
    assert {(one.state, one.label) for one in asked(station)} == {(ANSWERED, "owl")}
    # One picture is one piece of evidence, however often it was shown.
    assert harm(station)["overall"]["units"] == 1


def harm(station):
    newest = history.verdicts(station.place.engine, station.place.name)[-1]
    return {one["detector"]: one for one in newest["evidence"]["detectors"] if one["lane"] == "labelled harm"}


def test_labels_that_chance_asked_for_show_harm_though_feedback_is_not_random(open_station, birds):
    station = open_station(**ALL)
    rows, truths = birds.traffic(400, right=0.5)
    station.arrive(rows)
    tick(station.place)

    station.label(rows[:150], truths[:150])
    outcome = tick(station.place)

    assert {alarm.lane for alarm in outcome.alarms} == {"labelled harm"}
    assert harm(station)["overall"]["units"] == 150
    assert outcome.verdict.action == "retrain"
    tick(station.place)
    assert harm(station)["overall"]["units"] == 150


def test_volunteered_labels_and_those_asked_for_on_purpose_never_measure(open_station, birds):
    station = open_station(labels__per_day=2_400, monitor__feedback_is_random="false")
    rows, truths = birds.traffic(400, right=0.3)
    rows = recent(rows)
    station.arrive(rows)
    tick(station.place)
    audit = {one.prediction_id for one in asked(station) if one.in_audit}
    rest = [(row, truth) for row, truth in zip(rows, truths, strict=True) if row.id not in audit]

    station.label([row for row, _ in rest], [truth for _, truth in rest])
    outcome = tick(station.place)

    assert outcome.alarms == ()
    assert harm(station)["overall"]["units"] == 0


def test_a_label_that_came_before_it_was_asked_for_counts_all_the_same(open_station, birds):
    station = open_station(**ALL)
    rows, truths = birds.traffic(40)
    station.label(rows, truths)
    tick(station.place)
    station.arrive(rows)

    tick(station.place)
    tick(station.place)

    assert {one.state for one in asked(station)} == {ANSWERED}
    assert harm(station)["overall"]["units"] == 40


def test_a_second_label_is_a_correction_and_no_second_trial(open_station, birds):
    station = open_station(**ALL)
    rows, truths = birds.traffic(30)
    station.arrive(rows)
    tick(station.place)
    station.label(rows, truths)
    tick(station.place)

    station.label(rows, ["crow"] * 30)
    tick(station.place)

    assert harm(station)["overall"]["units"] == 30


def test_near_copies_give_one_observation_with_their_mean(open_station, birds):
    station = open_station(data__group="session")
    rows, _ = birds.traffic(40)
    noon = rows[0].at.replace(second=0, microsecond=0)
    burst = [replace(row, at=noon, label="crow", metadata={"camera": "A", "session": "s1"}) for row in rows]
    station.arrive(burst)

    station.label(burst, ["crow"] * 30 + ["owl"] * 10)
    tick(station.place)

    found = harm(station)
    assert (found["overall"]["units"], found["overall"]["mean"]) == (1, 0.25)


def test_requests_become_overdue_and_may_still_be_answered(open_station, birds):
    station = open_station(**ALL)
    rows, truths = birds.traffic(10)
    station.arrive(rows)
    tick(station.place)
    with writing(station.place.engine) as connection:
        connection.execute(sa.update(schema.label_requests).values(asked_at=now() - timedelta(days=8)))

    tick(station.place)
    late = {one.state for one in asked(station)}
    station.label(rows[:3], truths[:3])
    tick(station.place)

    assert late == {OVERDUE}
    assert len(asked(station, ANSWERED)) == 3


def test_what_nobody_can_say_is_skipped_with_its_copies(open_station, birds):
    station = open_station(**ALL)
    rows = birds.traffic(5)[0]
    station.arrive([replace(row, image_sha256="e" * 64) for row in rows[:3]] + rows[3:])
    tick(station.place)
    first = next(one for one in asked(station) if one.same_as is None and one.image_sha256 == "e" * 64)

    done = skip(station.place.engine, station.place.name, [first.prediction_id, "never-seen"])
    again = skip(station.place.engine, station.place.name, [first.prediction_id])

    assert (done, again) == ((first.prediction_id,), ())
    assert len(asked(station, SKIPPED)) == 3


def test_a_plan_that_fails_costs_no_look_and_is_made_up_for(open_station, birds, monkeypatch):
    station = open_station(**ALL)
    station.arrive(birds.traffic(250)[0])

    def broken(*_):
        raise OSError("the disk is gone")

    with monkeypatch.context() as patch:
        patch.setattr(label_planning, "read_candidates", broken)
        outcome = tick(station.place)
    without = asked(station)
    tick(station.place)

    assert len(outcome.windows) == 1
    assert without == ()
    assert len(asked(station)) == 250


def test_without_a_budget_nothing_is_asked(open_station, birds):
    station = open_station(labels__per_day=0)
    station.arrive(birds.traffic(250)[0])

    tick(station.place)

    assert asked(station) == ()
    assert newest_plan(station.place.engine, station.place.name) is None


def test_broken_numbers_and_other_versions_are_no_trouble(open_station, birds):
    station = open_station(**ALL)
    rows = birds.traffic(50)[0]
    rows[0] = replace(rows[0], probabilities=(float("nan"),) * 3, confidence=float("nan"))
    rows[1] = replace(rows[1], probabilities=(), embedding=None, statistics=())
    rows[2] = replace(rows[2], metadata={})
    rows[3] = replace(rows[3], model_version=7)
    rows[4] = replace(rows[5], repeated=True)
    station.arrive(rows)

    tick(station.place)

    assert {one.prediction_id for one in asked(station)} == {row.id for row in (*rows[:3], *rows[5:])}


def test_the_first_plan_leaves_old_traffic_alone_for_good(open_station, monkeypatch):
    monkeypatch.setattr("monitoring.labelling.candidates._MOST_AT_FIRST", 100)
    station = open_station(**ALL)
    older = Birds(seed=1).traffic(150)[0]
    station.arrive(older, spool="worker-9")
    later = replace(Birds(seed=2), clock=older[-1].at).traffic(120)[0]
    station.arrive(later)

    tick(station.place)
    tick(station.place)

    assert {one.prediction_id for one in asked(station)} == {row.id for row in later[-100:]}


def test_another_champion_goes_on_where_the_last_one_ended(open_station, birds, tmp_path):
    station = open_station(**ALL)
    station.arrive(birds.traffic(30)[0])
    tick(station.place)
    station.promote(2, tmp_path, bird_profile(2))
    successor = replace(birds, version=2, seed=5).traffic(20)[0]
    station.arrive(successor)

    tick(station.place)

    assert [one.prediction_id for one in asked(station) if one.model_version == 2] == [row.id for row in successor]
    assert np.unique([one.stratum for one in asked(station)]).tolist() == [AUDIT]
