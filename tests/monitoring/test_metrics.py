from datetime import UTC, datetime

import pytest

from infra import schema
from infra.database import open_database, writing
from infra.settings import load
from monitoring.metrics import exposition
from monitoring.watch import tick


def test_before_anything_happened_there_are_metrics_all_the_same(open_station):
    place = open_station(champion=False).place

    text = exposition(place.engine, place.settings).decode()

    assert "kedge_watched_windows_total 0.0" in text
    assert "kedge_champion_version" not in text


def test_an_alarm_a_verdict_and_the_evidence_are_there_for_prometheus(open_station, birds):
    station = open_station()
    strange, truths = birds.traffic(200, camera="C", strange=True, right=0.5)
    station.arrive(strange)
    station.label(strange[:60], truths[:60])
    tick(station.place)

    text = exposition(station.place.engine, station.place.settings).decode()

    assert "kedge_watched_predictions_total 200.0" in text
    assert 'kedge_verdict{action="label_first"} 1.0' in text
    assert 'kedge_window_atypical_ratio{channel="metadata"} 1.0' in text
    assert 'kedge_alarms_total{lane="gross"}' in text
    assert 'kedge_threshold_log10{detector="embedding",lane="gross"}' in text
    assert "kedge_window_labelled_predictions 60.0" in text


SUMMARY = {
    "atypical": {"embedding": 0.1},
    "signals": [
        {"family": "outputs", "name": "entropy", "effect": 0.2},
        {"family": "outputs", "name": "confidence", "effect": 0.3},
    ],
    "evidence": [{"lane": "blocks", "detector": "embedding", "log10_evidence": 1.5, "log10_threshold": 4.0}],
    "accuracy": {"value": 0.9, "low": 0.8, "high": 0.95},
    "labelled": 20,
    "estimate": {"accuracy": {"value": 0.88, "low": 0.84, "high": 0.91}, "valid": True},
    "origin": {"embedding": 0.35},
    "p_value": 0.04,
    "faults": [
        {"kind": "blank", "source": "A", "share": 0.02},
        {"kind": "blank", "source": "B", "share": 0.5},
    ],
}


def test_everything_the_last_window_says_is_there_for_prometheus(tmp_path):
    lines = exposed(tmp_path, SUMMARY)

    assert 'kedge_window_effect_ratio{family="outputs"} 0.3' in lines
    assert 'kedge_evidence_log10{detector="embedding",lane="blocks"} 1.5' in lines
    assert 'kedge_threshold_log10{detector="embedding",lane="blocks"} 4.0' in lines
    assert 'kedge_window_accuracy_ratio{edge="low"} 0.8' in lines
    assert 'kedge_window_estimated_accuracy_ratio{edge="high"} 0.91' in lines
    assert "kedge_window_estimate_valid 1.0" in lines
    assert 'kedge_window_origin_distance_ratio{family="embedding"} 0.35' in lines
    assert "kedge_window_p_value 0.04" in lines
    assert 'kedge_window_input_fault_ratio{kind="blank"} 0.5' in lines
    assert 'kedge_label_requests{state="answered"} 1.0' in lines
    assert 'kedge_label_requests{state="overdue"} 0.0' in lines


def test_labels_move_the_evidence_between_windows_so_the_newest_look_counts(tmp_path):
    newer = {"lane": "labelled harm", "detector": "overall", "log10_evidence": 3.0, "log10_threshold": 3.7}

    lines = exposed(tmp_path, SUMMARY, {"detectors": [newer]})

    assert 'kedge_evidence_log10{detector="overall",lane="labelled harm"} 3.0' in lines
    assert not any('lane="blocks"' in line for line in lines)


@pytest.mark.parametrize(
    "summary",
    [
        {},
        {"atypical": None, "signals": "lost", "evidence": [None, {"lane": "gross"}], "labelled": 3, "accuracy": None},
        {"estimate": {"accuracy": {"value": float("nan")}, "valid": "yes"}, "origin": [1], "p_value": "0.5"},
        {"estimate": 0.9, "p_value": None, "faults": [{"kind": 3}]},
        {"signals": [{"family": "outputs", "effect": None}], "evidence": [{"log10_evidence": float("-inf")}]},
    ],
)
def test_a_summary_from_another_time_costs_only_the_gauges_it_lacks(tmp_path, summary):
    lines = exposed(tmp_path, summary)

    assert "kedge_watched_windows_total 1.0" in lines
    assert not any(
        line.startswith(("kedge_window_estimate", "kedge_window_origin", "kedge_evidence")) for line in lines
    )


def exposed(folder, summary, evidence=None):
    """The lines that Prometheus reads after one window, one verdict and one answered label."""
    settings = load(folder, {})
    engine = open_database(settings.storage.database)
    name, at = settings.project.name, datetime(2026, 11, 20, 9, tzinfo=UTC)
    window = {"name": name, "sequence": 1, "model_version": 1, "started_at": at, "ended_at": at, "predictions": 200}
    verdict = {"name": name, "sequence": 1, "at": at, "model_version": 1, "action": "nothing", "reasons": []}
    asked = {
        "name": name, "prediction_id": "p1", "predicted_at": at, "asked_at": at, "model_version": 1,
        "stratum": "audit", "probability": 0.5, "uniform_probability": 0.5, "in_audit": True, "policy": "1",
        "state": "answered", "image_sha256": "0" * 64, "facts": {},
    }  # fmt: skip
    with writing(engine) as connection:
        connection.execute(schema.windows.insert().values(**window, summary=summary))
        connection.execute(schema.verdicts.insert().values(**verdict, evidence=evidence or {}))
        connection.execute(schema.label_requests.insert().values(**asked))
    text = exposition(engine, settings).decode()
    engine.dispose()
    return text.splitlines()
