import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from infra.clock import now
from monitoring import history, window_analysis
from monitoring.incoming.volume import ArrivalReport, Repeats, SilentSource, Volume
from monitoring.quality.records import DrawnCut
from monitoring.watch import tick
from monitoring.watching import surroundings_rows
from monitoring.watching.state import load_state
from monitoring.watching.surroundings import LabelledFacts, Surroundings, WindowLabels
from monitoring.watching.surroundings_rows import read_surroundings

AT = datetime(2026, 11, 1, 12, tzinfo=UTC)
FULL = Surroundings(
    version=3,
    arrivals=ArrivalReport(
        ("Unusually few arrivals.",),
        Volume(AT, 3, 50.0, 30, 70, 1e-9),
        (SilentSource("B", AT, 12.0),),
        ("C",),
        Repeats(200, 0.5, 1_000, 0.01, {"camera": 0.2}, {"camera": 0.0}),
    ),
    labelled=LabelledFacts((WindowLabels(7, 62, 90.0, "62 of about 90"),), (DrawnCut(AT, AT, 0.05, 0.2),)),
    again_at=AT,
)


def test_surroundings_are_read_back_as_they_were_written():
    assert Surroundings.from_json(json.loads(json.dumps(FULL.to_json()))) == FULL
    assert Surroundings.from_json(json.loads(json.dumps(Surroundings().to_json()))) == Surroundings()


def test_they_are_read_again_for_another_champion_or_after_a_pause(open_station, birds):
    station = open_station()
    station.arrive(birds.traffic(20)[0])
    fresh = replace(FULL, version=1, again_at=AT + timedelta(seconds=10))

    assert read_surroundings(station.place, 1, fresh, AT) is fresh
    assert read_surroundings(station.place, 2, fresh, AT).version == 2
    again = read_surroundings(station.place, 1, fresh, AT + timedelta(seconds=10))
    assert again.arrivals.notes == ()
    assert again.again_at >= AT + timedelta(seconds=40)


def test_a_look_keeps_them_beside_its_verdict(open_station, birds):
    station = open_station()
    rows = birds.traffic(260)[0]
    began = now() - timedelta(hours=1)
    twice = [
        replace(row, at=began + timedelta(seconds=n), image_sha256=rows[n // 2].image_sha256)
        for n, row in enumerate(rows)
    ]
    station.arrive(twice)

    tick(station.place)

    (verdict,) = history.verdicts(station.place.engine, station.place.name)
    found = verdict["evidence"]
    assert found["arrivals"]["repeats"]["rows"] == 200
    assert found["arrivals"]["repeats"]["repeated"] == 0.5
    assert found["labelled"] == {"windows": [], "adwin": []}
    assert load_state(station.place.engine, station.place.name).surroundings.version == 1


def test_a_log_that_cannot_be_read_for_them_costs_the_look_nothing(open_station, birds, monkeypatch):
    def broken(*_args):
        raise OSError("the disk is gone")

    monkeypatch.setattr(surroundings_rows, "labelled_facts", broken)
    station = open_station()
    station.arrive(birds.traffic(200)[0])

    outcome = tick(station.place)

    assert outcome.verdict.action == "nothing"
    assert [window.sequence for window in outcome.windows] == [1]


def test_a_closed_window_says_how_accurate_it_probably_is_and_what_kind_of_shift_it_shows(open_station, birds):
    station = open_station()
    station.arrive(birds.traffic(200)[0])
    tick(station.place)
    station.arrive(birds.traffic(200, camera="C", strange=True)[0])
    tick(station.place)

    usual, strange = (row["summary"] for row in history.windows(station.place.engine, station.place.name))
    assert usual["estimate"]["valid"]
    assert usual["estimate"]["accuracy"]["low"] < 0.95 < usual["estimate"]["accuracy"]["high"]
    assert usual["shift"]["kind"] == "no shift"
    assert not strange["estimate"]["valid"]
    assert "a gross change is being signalled" in strange["estimate"]["reasons"][0]
    assert "covariate shift" in strange["shift"]["kind"]
    (verdict,) = history.verdicts(station.place.engine, station.place.name)[-1:]
    assert any("ovariate shift" in reason for reason in verdict["reasons"])


def test_an_estimate_that_fails_is_said_and_the_window_closes(open_station, birds, monkeypatch):
    def broken(*_args, **_settings):
        raise FloatingPointError("overflow")

    monkeypatch.setattr(window_analysis, "estimate", broken)
    station = open_station()
    station.arrive(birds.traffic(200)[0])

    (window,) = tick(station.place).windows

    assert window.summary.estimate is None
    assert window.summary.shift is not None
    assert any(
        "accuracy without labels could not be computed (FloatingPointError" in one for one in window.summary.notes
    )
