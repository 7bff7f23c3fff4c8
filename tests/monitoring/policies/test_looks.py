"""Looks that decide about retrains, with real rows: one job however many ask, and an answer for everybody who asked."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, replace
from datetime import timedelta

import pytest
import sqlalchemy as sa

from infra import schema
from infra.clock import new_id, now
from infra.database import reading, writing
from infra.errors import UserError
from infra.jobs import claim_job, finish_job, jobs, queue_job
from infra.ledger import Ledger
from infra.retrain_requests import ask_for_retrain, retrain_request
from monitoring import history
from monitoring.bias import bias_report
from monitoring.policies.behind import behind_in
from monitoring.policies.rows import jobs_within
from monitoring.subgroups.rows import labelled_answers
from monitoring.watch import tick
from monitoring.watching.state import load_state, store_state
from tests.monitoring.birds import Birds


def ask(station, reason="a new camera"):
    return ask_for_retrain(station.place.engine, station.place.name, "token-7", reason).id


def answer(station, identifier):
    return retrain_request(station.place.engine, identifier)


def end(station, job_id, state="done"):
    claimed = claim_job(station.place.engine, job_id)
    finish_job(station.place.engine, job_id, state, claim=claimed.claim)


def with_labels(station, count=120, **traffic):
    """Traffic that looks as ever, with labels enough to retrain."""
    predictions, truths = Birds(seed=station.segment).traffic(count, **traffic)
    station.arrive(predictions)
    station.label(predictions, truths)
    return station


def looks_ledger(station):
    return Ledger(station.place.engine).rows("watch")


def test_five_requests_are_one_job_and_each_is_told_which(open_station):
    station = with_labels(open_station())
    asked = [ask(station, f"reason {number}") for number in range(5)]

    outcome = tick(station.place)

    (job,) = jobs(station.place.engine)
    assert (outcome.job_id, job.kind, job.reason) == (job.id, "retrain", "requested")
    assert {answer(station, one).state for one in asked} == {"accepted"}
    assert {answer(station, one).job_id for one in asked} == {job.id}
    assert [one["reason"] for one in job.evidence["requests"]] == [f"reason {number}" for number in range(5)]
    assert len(outcome.answered) == 5


def test_requests_while_a_job_is_open_share_it_and_within_the_cool_down_are_told_until_when(open_station):
    station = with_labels(open_station())
    ask(station)
    first = tick(station.place).job_id

    during = ask(station)
    tick(station.place)
    end(station, first)
    after = [ask(station) for _ in range(5)]
    for _ in range(5):
        tick(station.place)

    assert len(jobs(station.place.engine)) == 1
    assert (answer(station, during).state, answer(station, during).job_id) == ("accepted", first)
    assert {answer(station, one).state for one in after} == {"declined"}
    assert "the cool-down lasts until" in answer(station, after[0]).words


def test_watchers_that_look_at_once_start_one_job_and_answer_everybody_once(open_station):
    station = with_labels(open_station())
    asked = [ask(station) for _ in range(5)]

    with ThreadPoolExecutor(4) as watchers:
        outcomes = [each.result() for each in [watchers.submit(tick, station.place) for _ in range(4)]]

    (job,) = jobs(station.place.engine)
    assert [one.job_id for one in outcomes if one.job_id] == [job.id]
    assert [answer(station, one).job_id for one in asked] == [job.id] * 5
    kinds = [row.kind for row in Ledger(station.place.engine).rows("retrain requests")]
    assert kinds == ["asked"] * 5 + ["accepted"] * 5


def test_retrains_that_fail_one_after_the_other_are_counted(open_station):
    station = with_labels(open_station(trigger__cooldown_minutes=0, trigger__least_fresh_labels=50), right=0.5)
    for _ in range(3):
        job_id = tick(station.place).job_id
        end(station, job_id, "failed")

    with reading(station.place.engine) as connection:
        assert jobs_within(connection, station.place.name, now()).failures == 3


def test_five_looks_at_the_same_harm_are_one_job_and_the_ledger_is_told_once(open_station):
    station = with_labels(open_station(trigger__least_fresh_labels=50), right=0.5)
    first = tick(station.place).job_id
    claimed = claim_job(station.place.engine, first)

    rows = [len(looks_ledger(station)) for _ in range(5) if tick(station.place).job_id is None]
    finish_job(station.place.engine, first, "failed", error="no disk", claim=claimed.claim)
    held = [tick(station.place) for _ in range(5)]

    assert len(jobs(station.place.engine)) == 1
    assert rows == [rows[0]] * 5
    assert [one.decision.held_back[0].name for one in held] == ["cool-down"] * 5
    assert len(looks_ledger(station)) == rows[0] + 1
    newest = looks_ledger(station)[-1].facts["decision"]
    assert (newest["fired"], newest["starts"]) == (["harm"], False)
    assert "the cool-down lasts until" in newest["held_back"][0]


def test_a_decision_stands_in_the_verdict_and_in_the_job(open_station):
    station = with_labels(open_station(trigger__least_fresh_labels=50), right=0.5)

    outcome = tick(station.place)

    row = history.verdicts(station.place.engine, station.place.name)[-1]
    assert row["evidence"]["decision"] == outcome.decision.to_json()
    (job,) = jobs(station.place.engine)
    assert job.reason == "harm"
    assert job.evidence["decision"] == outcome.decision.to_json()
    assert Ledger(station.place.engine).verify("watch") is None


def test_a_request_for_which_labels_do_not_suffice_is_declined_with_how_many_are_missing(open_station):
    station = with_labels(open_station(), count=60)
    asked = ask(station)

    outcome = tick(station.place)

    assert outcome.job_id is None
    assert answer(station, asked).state == "declined"
    assert "60 of 100 fresh labels: 40 more are needed." in answer(station, asked).words


def test_a_request_starts_nothing_where_the_settings_do_not_name_it(open_station):
    station = with_labels(open_station(trigger__when="any(harm)"))
    asked = ask(station)

    tick(station.place)

    assert answer(station, asked).words == (
        "trigger.when is 'any(harm)' and does not name requested, so requests start nothing."
    )


def test_without_a_champion_a_request_is_declined(open_station):
    station = open_station(champion=False)
    asked = ask(station)

    outcome = tick(station.place)

    assert [one.id for one in outcome.answered] == [asked]
    assert "no champion to retrain from" in answer(station, asked).words


def test_a_champion_without_a_profile_is_retrained_when_somebody_asks(open_station):
    station = open_station(profile=False)
    asked = ask(station)

    outcome = tick(station.place)

    assert answer(station, asked).job_id == outcome.job_id == jobs(station.place.engine)[0].id
    assert tick(station.place).job_id is None


def test_a_cron_line_starts_one_retrain_when_its_moment_has_come_and_nothing_is_caught_up_on(open_station):
    station = with_labels(open_station(trigger__cron="* * * * *", trigger__cooldown_minutes=0))
    assert tick(station.place).job_id is None, "the line begins with the first look"

    away_for(station, timedelta(minutes=30))
    back = tick(station.place)

    (job,) = jobs(station.place.engine)
    assert (back.job_id, job.reason) == (job.id, "schedule")
    end(station, job.id)
    assert load_state(station.place.engine, station.place.name).policies.moments_until > now() - timedelta(minutes=1)


def test_a_moment_of_the_clock_waits_for_the_cool_down_and_passes_over_what_lacks_labels(open_station):
    station = with_labels(open_station(trigger__cron="0 0 1 1 *"))
    tick(station.place)
    end(station, queue_job(station.place.engine, "retrain", "manual").id)

    away_for(station, timedelta(days=400))
    waiting = tick(station.place)
    still = tick(station.place)

    assert [one.decision.keeps_moment for one in (waiting, still)] == [True, True]
    assert waiting.decision.fired == ("schedule",)

    few = with_labels(open_station(folder=station.place.settings.root / "few", trigger__cron="0 0 1 1 *"), count=20)
    tick(few.place)
    away_for(few, timedelta(days=400))
    assert tick(few.place).decision.fired == ("schedule",)
    assert tick(few.place).decision.fired == ()


def test_a_version_on_its_way_to_be_champion_is_waited_for(open_station):
    station = with_labels(open_station(trigger__cooldown_minutes=0, trigger__least_fresh_labels=50), right=0.5)
    roll_out(station, stage="shadow")

    held = tick(station.place)

    assert held.verdict.action == "retrain"
    assert [one.words for one in held.decision.held_back] == ["Version 2 is in shadow; its rollout is waited for."]


def test_a_candidate_that_waits_for_labels_holds_the_same_reason_back_and_lets_somebody_who_asks_start(open_station):
    settings = {"trigger__cooldown_minutes": 0, "trigger__least_fresh_labels": 50, "labels__per_day": 0}
    station = with_labels(open_station(**settings), right=0.5)
    folder = station.place.settings.root / "candidate"
    for file in ("model.onnx", "model.safetensors", "artifact.json"):
        folder.mkdir(exist_ok=True)
        (folder / file).write_bytes(b"of a candidate")
    station.place.registry.register(folder, reason="harm", parent_version=1, state="waiting")
    roll_out(station, stage="waiting")

    held = tick(station.place)
    asked = ask(station)
    started = tick(station.place)

    assert (held.verdict.action, held.job_id) == ("retrain", None)
    assert [one.name for one in held.decision.held_back] == ["waiting candidate"]
    assert held.decision.held_back[0].words.startswith("Version 2, made for harm, waits for labels that decide about")
    assert started.job_id is not None
    assert answer(station, asked).state == "accepted"


def test_who_asks_while_a_candidate_is_judged_once_more_is_answered_when_that_is_over(open_station):
    station = with_labels(open_station(trigger__cooldown_minutes=0, trigger__least_fresh_labels=50))
    judging = queue_job(station.place.engine, "judge", "second reading", {"version": 2, "rollout": 1})
    asked = ask(station)

    tick(station.place)
    meanwhile = answer(station, asked)
    end(station, judging.id)
    tick(station.place)

    assert meanwhile.state == "waiting"
    assert answer(station, asked).state == "accepted"
    assert [one.kind for one in jobs(station.place.engine)] == ["retrain", "judge"]


def test_after_a_version_was_rolled_back_new_labels_are_awaited(open_station):
    station = with_labels(open_station(trigger__cooldown_minutes=0, trigger__least_fresh_labels=50), right=0.5)
    roll_out(station, stage="rolled_back", ended_at=now())

    outcome = tick(station.place)

    assert outcome.verdict.action == "label_first"
    assert any("since the last candidate was refused" in reason for reason in outcome.verdict.reasons)


def test_a_second_refusal_awaits_new_labels_again(open_station):
    station = open_station(trigger__cooldown_minutes=0, trigger__least_fresh_labels=50)
    for _ in range(2):
        with_labels(station, right=0.5)
        job_id = tick(station.place).job_id
        assert job_id is not None
        end(station, job_id, "refused")
        assert tick(station.place).verdict.action == "label_first"


def test_labels_that_show_an_accuracy_below_what_is_asked_retrain_by_performance(open_station):
    station = with_labels(open_station(trigger__when="performance", trigger__least_accuracy=0.9), count=210, right=0.8)

    first = tick(station.place)

    # With labels as sure as these, the first closed window is enough.
    assert jobs(station.place.engine)[0].reason == "performance"
    (found,) = first.decision.policies
    assert found.words.startswith("Accuracy by 210 labels is ")


def test_volunteered_labels_do_not_measure_performance(open_station):
    station = with_labels(
        open_station(trigger__when="performance", trigger__least_accuracy=0.9, monitor__feedback_is_random="false"),
        count=210,
        right=0.8,
    )

    (found,) = tick(station.place).decision.policies

    assert (found.fires, found.words) == (
        False, "Accuracy is not surely below 90.0%: no label may measure it yet."
    )  # fmt: skip


def test_enough_new_labels_retrain_by_their_number(open_station):
    station = with_labels(open_station(trigger__when="labels", trigger__new_labels=150), count=140)
    (found,) = tick(station.place).decision.policies
    assert found.would_change == "10 more labels."

    with_labels(station, count=20)
    assert jobs(station.place.engine) == ()
    tick(station.place)

    assert jobs(station.place.engine)[0].reason == "labels"


def test_a_subgroup_that_an_audit_found_far_behind_retrains_by_bias(open_station):
    station = open_station(trigger__when="bias", trigger__most_subgroup_gap=0.1)
    for camera, right in (("A", 0.97), ("B", 0.6)):
        predictions, truths = Birds(seed=ord(camera)).traffic(260, camera=camera, right=right)
        station.arrive(predictions)
        station.label(predictions, truths)
    (unaudited,) = tick(station.place).decision.policies

    keep_audit(station)
    outcome = tick(station.place)

    assert unaudited.words == "The champion has not been audited yet."
    assert jobs(station.place.engine)[0].reason == "bias"
    assert outcome.decision.policies[0].words.startswith("camera = B lies behind by the audit of ")


def test_avoidable_errors_a_day_stand_beside_what_a_retrain_costs(open_station):
    station = open_station(trigger__least_fresh_labels=50)
    predictions, truths = Birds(clock=now() - timedelta(days=2)).traffic(200, right=0.5)
    station.arrive(predictions)
    station.label(predictions, truths)

    expected = tick(station.place).decision.expected

    assert expected.basis == "labels"
    assert 0.25 < expected.share < 0.5
    # Two hundred in two days are a hundred a day.
    assert round(expected.errors_per_day / expected.share) == 100
    assert (expected.minutes, "train.budget_minutes" in expected.cost_basis) == (30.0, True)


def test_settings_that_cannot_be_followed_stop_the_look_before_anything_is_counted(open_station):
    station = with_labels(open_station(trigger__when="any(harms)"))

    with pytest.raises(UserError, match="did you mean harm"):
        tick(station.place)

    assert load_state(station.place.engine, station.place.name).sequence == 0


def away_for(station, long):
    """The watcher's state as it would be had it looked last so long ago."""
    place = station.place
    state = load_state(place.engine, place.name)
    memory = replace(state.policies, moments_until=now() - long)
    with writing(place.engine) as connection:
        assert store_state(connection, place.name, replace(state, sequence=state.sequence + 1, policies=memory))


def keep_audit(station):
    """The row that `kedge audit` leaves of its page, as far as a look reads it."""
    place = station.place
    answers = labelled_answers(place.log, 1)
    report = bias_report(answers, ["camera"], title="audit", at=now(), model_version=1, resamples=200)
    facts = {
        "name": place.name,
        "model_version": 1,
        "warning": "",
        "behind": [asdict(one) for one in behind_in(report)],
    }
    row = {"id": new_id(), "kind": "audit", "at": now(), "title": "audit", "object_key": "none", "facts": facts}
    with writing(place.engine) as connection:
        connection.execute(sa.insert(schema.reports).values(**row))


def roll_out(station, *, stage, ended_at=None):
    row = {"name": station.place.name, "sequence": 1, "version": 2, "champion_version": 1, "stage": stage,
           "started_at": now(), "stage_since": now(), "ended_at": ended_at, "reason": "test", "job_id": None,
           "state": {}, "words": "test"}  # fmt: skip
    with writing(station.place.engine) as connection:
        connection.execute(sa.insert(schema.rollout_runs).values(**row))
