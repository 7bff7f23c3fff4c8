"""What policies measure, from real tables."""

from dataclasses import replace
from datetime import timedelta

import pytest

from infra import schema
from infra.clock import now
from infra.database import writing
from monitoring.policies.measuring import estimates_of, measured_accuracy, predictions_per_day, shown_classes
from monitoring.triage_records import LabelsSoFar
from tests.monitoring.birds import BIRDS, Birds


def test_each_label_counts_once_and_only_of_the_version_and_the_time_that_are_asked_about(open_station):
    station = open_station()
    predictions, truths = Birds().traffic(200, right=0.8)
    others, theirs = Birds(seed=1, version=2).traffic(50, right=0.1)
    station.arrive([*predictions, *others])
    station.label([*predictions, *others], [*truths, *theirs])

    whole = measured_accuracy(station.place, 1, BIRDS, predictions[0].at)
    later = measured_accuracy(station.place, 1, BIRDS, predictions[120].at)

    right = sum(one.label == truth for one, truth in zip(predictions, truths, strict=True))
    assert (whole.labels, whole.accuracy.value) == (200, pytest.approx(right / 200))
    assert whole.accuracy.low < 0.8 < whole.accuracy.high
    assert later.labels == 80


def test_where_labels_are_volunteered_only_those_that_chance_drew_measure(open_station):
    station = open_station(monitor__feedback_is_random="false")
    predictions, truths = Birds().traffic(100, right=0.5)
    station.arrive(predictions)
    station.label(predictions, truths)
    assert measured_accuracy(station.place, 1, BIRDS, predictions[0].at).labels == 0

    with writing(station.place.engine) as connection:
        connection.execute(schema.label_requests.insert(), [drawn(station, one) for one in predictions[:40]])

    assert measured_accuracy(station.place, 1, BIRDS, predictions[0].at).labels == 40


def test_a_burst_of_one_session_and_copies_of_one_picture_count_once(open_station):
    station = open_station(data__group="session")
    predictions, truths = Birds().traffic(90)
    noon = predictions[0].at.replace(second=0)
    burst = [replace(row, at=noon, metadata={**row.metadata, "session": "s1"}) for row in predictions[:50]]
    copies = [replace(row, image_sha256="a" * 64) for row in predictions[50:80]]
    station.arrive([*burst, *copies, *predictions[80:]])
    station.label(predictions, truths)

    assert measured_accuracy(station.place, 1, BIRDS, noon).labels == 1 + 1 + 10


def test_a_log_younger_than_a_week_tells_its_rate_by_its_age(open_station):
    station, present = open_station(), now()
    assert predictions_per_day(station.place.log, present) is None

    station.arrive(Birds(clock=present - timedelta(days=4)).traffic(100)[0])

    assert predictions_per_day(station.place.log, present) == pytest.approx(25, rel=0.01)
    assert predictions_per_day(station.place.log, present + timedelta(days=30)) is None


def test_a_class_is_shown_when_answers_or_labels_name_it_more_than_now_and_then():
    summaries = [{"mix": {"crow": 0.99, "owl": 0.01}}, {"mix": {"crow": 0.999, "duck": 0.001}}]

    assert shown_classes(summaries, LabelsSoFar()) == ("crow",)
    assert shown_classes(summaries, LabelsSoFar(fresh=50, by_class={"owl": 2, "crow": 48})) == ("crow", "owl")


def test_an_estimate_that_was_not_made_may_not_be_leant_on():
    told = {"valid": True, "accuracy": {"value": 0.8, "low": 0.75, "high": 0.85}}

    found = estimates_of([{"estimate": told}, {"estimate": None}, {}])

    assert [one.valid for one in found] == [True, False, False]
    assert found[0].accuracy.high == 0.85


def drawn(station, one):
    return {
        "name": station.place.name, "prediction_id": one.id, "predicted_at": one.at, "asked_at": one.at,
        "model_version": 1, "stratum": "audit", "probability": 0.4, "uniform_probability": 0.4, "in_audit": True,
        "policy": "1", "state": "answered", "facts": {}, "image_sha256": one.image_sha256,
    }  # fmt: skip
