from dataclasses import replace

import numpy as np
import sqlalchemy as sa

from infra import schema
from infra.database import writing
from infra.jobs import claim_job, finish_job, jobs
from infra.ledger import Ledger
from monitoring import history
from monitoring.reference.profile import save_profile
from monitoring.watch import tick
from monitoring.watching import counting, gathering
from monitoring.watching import rows as watch_rows
from monitoring.watching.state import load_state, store_state
from tests.monitoring.birds import bird_profile


def test_ordinary_traffic_closes_windows_and_asks_for_nothing(open_station, birds):
    station = open_station()
    predictions, truths = birds.traffic(450)
    station.arrive(predictions)
    station.label(predictions[:120], truths[:120])

    outcome = tick(station.place)

    assert [window.sequence for window in outcome.windows] == [1, 2]
    assert outcome.verdict.action == "nothing"
    assert outcome.alarms == ()
    assert outcome.job_id is None
    summary = history.windows(station.place.engine, station.place.name)[0]["summary"]
    assert summary["predictions"] == 200
    assert summary["labelled"] == 120
    assert summary["accuracy"]["low"] < 0.95 < summary["accuracy"]["high"]
    assert all(share < 0.1 for share in summary["atypical"].values())
    assert summary["block_lane"].startswith("calibrating: 0 of 14 blocks")


def test_a_new_camera_is_seen_in_its_first_window_and_its_labels_lead_from_label_first_to_retrain(open_station, birds):
    station = open_station()
    place = station.place
    station.arrive(birds.traffic(400)[0])
    assert tick(place).verdict.action == "nothing"

    strange, truths = birds.traffic(200, camera="C", strange=True, right=0.55)
    station.arrive(strange)
    alarmed = tick(place)

    assert alarmed.verdict.action == "label_first"
    assert {alarm.lane for alarm in alarmed.alarms} == {"gross"}
    assert {alarm.window_sequence for alarm in alarmed.alarms} == {3}
    assert alarmed.job_id is None
    assert "camera = C is new: 200 of the newest 200 predictions." in alarmed.verdict.reasons

    station.label(strange[:40], truths[:40])
    few = tick(place)
    assert few.verdict.action == "label_first"

    station.label(strange[40:160], truths[40:160])
    harmed = tick(place)

    assert harmed.verdict.action == "retrain"
    assert harmed.job_id is not None
    job = jobs(place.engine)[0]
    assert (job.id, job.kind, job.state, job.reason) == (harmed.job_id, "retrain", "queued", "harm")
    assert job.evidence["labels"]["fresh"] == 160
    assert job.evidence["labels"]["in_region"] == 160
    assert all(row["acted_on_at"] is not None for row in history.alarms(place.engine, place.name))
    assert Ledger(place.engine).verify("watch") is None


def test_a_look_that_is_repeated_changes_nothing(open_station, birds):
    station = open_station()
    predictions, truths = birds.traffic(310)
    station.arrive(predictions)
    station.label(predictions[:50], truths[:50])
    first = tick(station.place)

    second = tick(station.place)

    assert len(first.windows) == 1
    assert second.windows == ()
    rows = history.verdicts(station.place.engine, station.place.name)
    detectors = [row["evidence"]["detectors"] for row in rows]
    assert detectors[0] == detectors[1]
    assert [row["evidence"]["predictions"] for row in rows] == [310, 310]


def test_rows_that_arrive_a_few_at_a_time_are_each_counted_once(open_station, birds):
    station = open_station()
    predictions = birds.traffic(230)[0]
    for start in range(0, 230, 23):
        station.arrive(predictions[start : start + 23], spool=f"worker-{start % 2}")
        tick(station.place)

    windows = history.windows(station.place.engine, station.place.name)
    newest = history.verdicts(station.place.engine, station.place.name)[-1]

    assert [row["predictions"] for row in windows] == [200]
    assert newest["evidence"]["predictions"] == 230


def test_a_promotion_begins_the_evidence_anew_and_closes_what_the_predecessor_left(open_station, birds, tmp_path):
    station = open_station()
    station.arrive(birds.traffic(150, camera="C", strange=True)[0])
    assert tick(station.place).verdict.action == "label_first"

    station.promote(2, tmp_path, bird_profile(2))
    successor = replace(birds, version=2, seed=5)
    station.arrive(successor.traffic(200)[0])
    outcome = tick(station.place)

    assert outcome.verdict.action == "nothing"
    assert [(window.model_version, window.summary.closed_because) for window in outcome.windows] == [
        (1, "the champion changed"),
        (2, "full"),
    ]


def test_a_long_backlog_of_the_predecessor_does_not_hide_the_champion(open_station, birds, tmp_path, monkeypatch):
    monkeypatch.setattr(gathering, "_MOST_ROWS", 400)
    monkeypatch.setattr(counting, "_MOST_LEFT_OVER", 300)
    station = open_station()
    station.arrive(birds.traffic(420)[0])
    station.promote(2, tmp_path, bird_profile(2))
    station.arrive(replace(birds, version=2, seed=5).traffic(200)[0])

    backlog, own = tick(station.place), tick(station.place)

    assert [(window.model_version, window.predictions) for window in backlog.windows] == [(1, 400)]
    assert (own.windows[-1].model_version, own.windows[-1].predictions) == (2, 200)


def test_a_queued_retrain_and_the_cool_down_keep_a_second_one_from_starting(open_station, birds):
    station = open_station(trigger__least_fresh_labels=50)
    strange, truths = birds.traffic(200, camera="C", strange=True, right=0.4)
    station.arrive(strange)
    station.label(strange, truths)
    first = tick(station.place)
    assert first.job_id is not None

    assert tick(station.place).job_id is None
    claim_job(station.place.engine, first.job_id)
    finish_job(station.place.engine, first.job_id, "failed", error="no disk")

    cooling = tick(station.place)
    assert cooling.verdict.action == "retrain"
    assert cooling.job_id is None
    assert len(jobs(station.place.engine)) == 1


def test_after_a_refused_candidate_new_labels_are_awaited(open_station, birds):
    station = open_station(trigger__cooldown_minutes=0)
    strange, truths = birds.traffic(300, camera="C", strange=True, right=0.4)
    station.arrive(strange)
    station.label(strange[:150], truths[:150])
    first = tick(station.place)
    claim_job(station.place.engine, first.job_id)
    finish_job(station.place.engine, first.job_id, "refused", outcome={"version": 2, "promoted": False})

    waiting = tick(station.place)
    assert waiting.verdict.action == "label_first"
    assert any("since the last candidate was refused" in reason for reason in waiting.verdict.reasons)

    station.label(strange[150:], truths[150:])
    assert tick(station.place).verdict.action == "retrain"


def test_labels_that_are_not_a_random_sample_train_but_never_measure(open_station, birds):
    station = open_station(monitor__feedback_is_random="false")
    strange, truths = birds.traffic(200, camera="C", strange=True, right=0.3)
    station.arrive(strange)
    station.label(strange, truths)

    outcome = tick(station.place)

    assert outcome.verdict.action == "label_first"
    assert any("monitor.feedback_is_random" in words for words in outcome.verdict.would_change)


def test_labels_whose_picture_was_not_kept_cannot_start_a_retrain(open_station, birds):
    station = open_station()
    strange, truths = birds.traffic(200, camera="C", strange=True, right=0.4)
    station.arrive([replace(row, image_kept=False) for row in strange])
    station.label(strange, truths)

    outcome = tick(station.place)

    assert outcome.verdict.action == "label_first"
    assert any("200 labels cannot train" in reason for reason in outcome.verdict.reasons)


def test_a_label_that_comes_before_its_prediction_waits_for_it_and_a_correction_is_no_second_trial(open_station, birds):
    station = open_station()
    predictions, truths = birds.traffic(60)
    station.label(predictions, truths)
    tick(station.place)
    station.arrive(predictions)
    tick(station.place)
    station.label(predictions[:10], truths[:10])

    tick(station.place)

    newest = history.verdicts(station.place.engine, station.place.name)[-1]
    overall = next(one for one in newest["evidence"]["detectors"] if one["detector"] == "overall")
    assert overall["units"] == 60


def test_without_champion_or_profile_the_watcher_says_so_and_lives(open_station):
    station = open_station(champion=False)
    assert "no champion yet" in tick(station.place).words

    with station.place.engine.connect() as connection:
        assert connection.execute(sa.select(schema.heartbeats.c.process)).scalar() == "watch"


def test_a_champion_without_a_profile_is_not_watched_and_nothing_is_taken_as_seen(open_station, birds, reference):
    station = open_station(profile=False)
    station.arrive(birds.traffic(250)[0])
    blind = tick(station.place)
    assert "no reference profile" in blind.words

    save_profile(station.place.engine, station.place.objects, station.place.name, reference)
    assert len(tick(station.place).windows) == 1


def test_broken_numbers_and_odd_metadata_stop_nothing(open_station, birds):
    station = open_station()
    rows = birds.traffic(200)[0]
    rows[0] = replace(rows[0], probabilities=(float("nan"),) * 3)
    rows[1] = replace(rows[1], probabilities=(0.5, 0.5))
    rows[2] = replace(rows[2], embedding=None)
    rows[3] = replace(rows[3], statistics=(float("inf"),) * 7)
    rows[4] = replace(rows[4], metadata={})
    rows[5:] = [replace(row, metadata={**row.metadata, "shift": "night"}) for row in rows[5:]]
    station.arrive(rows)

    outcome = tick(station.place)

    assert outcome.verdict.action == "nothing"
    notes = " ".join(outcome.windows[0].summary.notes)
    assert "2 of 200 predictions have no usable probabilities" in notes
    assert "Not in the reference, hence not compared: shift." in notes
    assert "camera is missing in 1 of 200 predictions." in notes


def test_black_frames_ask_for_the_input_to_be_mended_whatever_the_labels_say(open_station, birds):
    station = open_station()
    dark, truths = birds.traffic(200, strange=True, right=0.3)
    black = tuple(np.array([0.0, 0.001, 0, 0, 0, 0, 0.05]))
    station.arrive([replace(row, statistics=black) for row in dark])
    station.label(dark, truths)

    outcome = tick(station.place)

    assert outcome.verdict.action == "fix_input"
    assert outcome.job_id is None
    assert outcome.verdict.reasons[0].startswith("The input is broken: 100% of the newest 200 pictures are blank")


def test_a_known_camera_that_suddenly_looks_different_is_an_input_fault_until_labels_show_it_can_be_read(
    open_station, birds
):
    station = open_station()
    changed, truths = birds.traffic(200, camera="A", strange=True)
    station.arrive(changed)
    assert tick(station.place).verdict.action == "fix_input"

    station.label(changed[:8], truths[:8])

    assert tick(station.place).verdict.action == "label_first"


def test_labels_alone_show_harm_where_the_pictures_look_as_ever(open_station, birds):
    station = open_station()
    predictions, truths = birds.traffic(400, right=0.6)
    station.arrive(predictions)
    station.label(predictions[:150], truths[:150])

    outcome = tick(station.place)

    assert outcome.verdict.action == "retrain"
    assert {alarm.lane for alarm in outcome.alarms} == {"labelled harm"}
    assert outcome.verdict.avoidable_error > 0.15


def test_a_burst_of_one_session_counts_as_one_prediction(open_station, birds):
    station = open_station(data__group="session")
    strange = birds.traffic(200, camera="C", strange=True)[0]
    noon = strange[0].at.replace(second=0)
    station.arrive([replace(row, at=noon, metadata={**row.metadata, "session": "s1"}) for row in strange])

    outcome = tick(station.place)

    assert outcome.alarms == ()
    newest = history.verdicts(station.place.engine, station.place.name)[-1]
    assert {one["units"] for one in newest["evidence"]["detectors"] if one["lane"] == "gross"} == {1}


def test_two_watchers_at_once_write_one_look(open_station, birds):
    station = open_station()
    station.arrive(birds.traffic(200)[0])
    before = load_state(station.place.engine, station.place.name)
    first = tick(station.place)

    with writing(station.place.engine) as connection:
        late = store_state(connection, station.place.name, replace(before, sequence=before.sequence + 1))

    assert len(first.windows) == 1
    assert not late
    assert load_state(station.place.engine, station.place.name).windows == 1


def test_a_late_label_leaves_what_another_process_wrote_into_the_window(open_station, birds, monkeypatch):
    station = open_station()
    predictions, truths = birds.traffic(200)
    station.arrive(predictions)
    tick(station.place)
    station.label(predictions[:50], truths[:50])
    real = watch_rows.performance

    def drawn_meanwhile(*arguments):
        with writing(station.place.engine) as connection:
            summary = connection.execute(sa.select(schema.windows.c.summary)).scalar_one()
            connection.execute(schema.windows.update().values(summary={**summary, "evidently": {"rows": [1, 2]}}))
        return real(*arguments)

    monkeypatch.setattr(watch_rows, "performance", drawn_meanwhile)
    tick(station.place)

    (row,) = history.windows(station.place.engine, station.place.name)
    assert row["summary"]["labelled"] == 50
    assert row["summary"]["evidently"] == {"rows": [1, 2]}
