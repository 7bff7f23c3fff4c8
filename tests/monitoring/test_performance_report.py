"""What `kedge performance` says, over a real log with real labels and requests."""

import json
from datetime import datetime, timedelta

import numpy as np

from infra import schema
from infra.clock import now
from infra.database import writing
from models.prediction import Label, Prediction
from monitoring.quality.facts import labelled_facts
from monitoring.quality.records import to_json
from monitoring.quality.report import performance_report
from monitoring.watching.surroundings import LabelledFacts
from tests.monitoring.birds import Birds, Station


def traffic(count: int, days_ago: float, *, right: float = 0.95, seed: int = 1) -> tuple[list[Prediction], list[str]]:
    world = Birds(seed, clock=now() - timedelta(days=days_ago))
    return world.traffic(count, right=right)


def tell(station: Station, rows: list[Prediction], truths: list[str], at: datetime) -> None:
    station.segment += 1
    labels = [Label(row.id, truth, at, "ann", sequence=station.segment * 10_000 + place)
              for place, (row, truth) in enumerate(zip(rows, truths, strict=True))]  # fmt: skip
    station.place.log.append_labels("labels-0", station.segment, list(enumerate(labels)))


def ask(station: Station, rows: list[Prediction], truths: list[str | None], probability: float = 0.2) -> None:
    """As if the plan had drawn these by chance; without a label they are overdue."""
    with writing(station.place.engine) as connection:
        for row, truth in zip(rows, truths, strict=True):
            connection.execute(schema.label_requests.insert().values(
                name=station.place.name, prediction_id=row.id, predicted_at=row.at, asked_at=row.at, model_version=1,
                stratum="audit", probability=probability, uniform_probability=probability, in_audit=True, policy="1",
                state="overdue" if truth is None else "answered", label=truth, image_sha256=row.image_sha256, facts={},
            ))  # fmt: skip


def test_nothing_is_said_without_a_champion(open_station):
    assert performance_report(open_station(champion=False).place) is None


def test_an_empty_log_is_told_in_words(open_station):
    found = performance_report(open_station().place)

    assert found.with_labels.notes == ("no prediction of this time has a label yet",)
    assert found.without_labels is None
    assert found.with_asked_labels.notes == ("not enough evidence: 0 of 30 labels",)
    json.dumps(to_json(found), default=str)


def test_labels_that_contradict_the_confidences_are_seen_by_the_asked_labels_and_not_by_the_estimate(open_station):
    station = open_station()
    rows, truths = traffic(900, days_ago=5, right=0.6)
    station.arrive(rows)
    tell(station, rows[:180], truths[:180], now() - timedelta(days=1))
    ask(station, rows[:180], [*truths[:180]])

    found = performance_report(station.place)

    assert found.without_labels.accuracy.low > 0.8
    assert found.with_asked_labels.accuracy.high < 0.75
    assert found.with_asked_labels.labels == 180
    assert [(one.value, one.corrected.labels) for one in found.subgroups] == [("A", 180)]
    assert sum(day.images for day in found.with_labels.by_prediction) == 180


def test_earlier_labels_say_what_weight_the_confidences_deserve(open_station):
    station = open_station()
    earlier, now_seen = traffic(300, days_ago=20, seed=2), traffic(600, days_ago=3, seed=3, right=0.9)
    for (rows, truths), count in ((earlier, 200), (now_seen, 150)):
        station.arrive(rows)
        ask(station, rows[:count], [*truths[:count]])

    found = performance_report(station.place, since=now() - timedelta(days=10)).with_asked_labels

    assert (found.predictions, found.labels) == (600, 150)
    assert 0 <= found.weight <= 1
    assert found.accuracy.low < 0.9 < found.accuracy.high


def test_labels_that_nobody_drew_by_chance_measure_nothing(open_station):
    station = open_station(monitor__feedback_is_random="false")
    rows, truths = traffic(100, days_ago=2)
    station.arrive(rows)
    tell(station, rows, truths, now())

    found = performance_report(station.place)

    assert found.adwin is None
    assert "as people chose to send them" in found.with_labels.notes[0]


def test_odd_labels_are_named(open_station):
    station = open_station()
    rows, _ = traffic(50, days_ago=2)
    station.arrive(rows)
    tell(station, rows[:40], ["heron"] * 40, now())

    notes = performance_report(station.place).with_labels.notes

    assert any('every label says "heron"' in note for note in notes)
    assert any('classes that the model does not have ("heron")' in note for note in notes)


def test_adwin_is_drawn_where_errors_rose_and_a_windows_labels_are_counted(open_station):
    station = open_station()
    before, after = traffic(600, days_ago=6, seed=4), traffic(200, days_ago=2, seed=5, right=0.4)
    for rows, truths in (before, after):
        station.arrive(rows)
        tell(station, rows, truths, rows[-1].at + timedelta(hours=1))
    with writing(station.place.engine) as connection:
        connection.execute(schema.windows.insert().values(
            name=station.place.name, sequence=1, model_version=1, started_at=after[0][0].at, ended_at=after[0][-1].at,
            predictions=200, summary={}, report_key=None,
        ))  # fmt: skip

    found = labelled_facts(station.place, 1, now())

    assert found.windows[0].words == "all of about 200 labels are in"
    assert len(found.adwin) == 1
    assert found.adwin[0].began_at >= before[0][-1].at
    assert found.adwin[0].error_after > 0.4
    assert LabelledFacts.from_json(json.loads(json.dumps(found.to_json()))) == found


def test_a_champion_without_a_profile_still_has_its_labels_told(open_station):
    station = open_station(profile=False)
    rows, truths = traffic(60, days_ago=2)
    station.arrive(rows)
    tell(station, rows, truths, now())

    found = performance_report(station.place)

    assert found.with_labels.images == 60
    assert found.without_labels is None
    assert "no reference profile" in found.notes[0]


def test_a_broken_confidence_is_left_out_of_calibration_and_of_the_estimate(open_station):
    station = open_station()
    rows, truths = traffic(300, days_ago=2)
    object.__setattr__(rows[0], "confidence", float("nan"))
    object.__setattr__(rows[1], "probabilities", (float("nan"),) * 3)
    station.arrive(rows)
    tell(station, rows[:100], truths[:100], now())

    found = performance_report(station.place)

    assert found.with_labels.calibration.left_out == 1
    assert (found.without_labels.predictions, found.without_labels.used) == (300, 299)
    assert np.isfinite(found.without_labels.accuracy.value)
