import json
import math
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from monitoring import window_columns
from monitoring.detectors.metadata import as_numbers
from monitoring.log import columns as log_columns
from monitoring.log.columns import OTHER_VALUES, CodedColumn, batch_in, metadata_in
from monitoring.log.cursor import Cursor
from monitoring.log.stretch import answers, new_stretch
from monitoring.reference.coded import Coded, coded
from monitoring.reference.profile import NUMBER, Column
from monitoring.reference.reduced import reduction
from monitoring.signals import atypical, drift_report
from monitoring.watch import tick
from monitoring.watching.batch import batch_of
from monitoring.watching.counting import count
from monitoring.watching.gathering import gather
from monitoring.watching.state import MOST_RECENT, Recent, WatchState
from monitoring.window_columns import rounding, time_span
from tests.monitoring.birds import BIRDS, EMBEDDING, bird_profile
from tests.monitoring.new_answers import new_answers

LOOK_AT = datetime(2026, 11, 21, tzinfo=UTC)
ROOT = Path(__file__).parent.parent.parent


def looked(station, state=None, slice_rows=20_000):
    """What a look finds that reads so many rows at a time; nothing is written."""
    place = station.place
    champion = place.registry.champion()
    profile = bird_profile(champion.version)
    gathered = gather(place, champion, profile, state or WatchState())
    gathered.arrivals.slice_rows = slice_rows
    return count(gathered, place.settings, LOOK_AT)


def told(counted):
    """All that a look says, as it is kept; of an alarm when and where it was raised."""
    alarms = [
        (alarm.detector, alarm.window_sequence, alarm.facts["alarmed_at"], alarm.facts["prediction_at"])
        for alarm in counted.alarms
    ]
    windows = [window.row() for window in counted.windows]
    return json.loads(json.dumps([counted.state.to_json(), windows, alarms], default=str))


def same(one, other):
    """Equal to the last figure but for what rounding makes of float32: a product of matrices hangs on their shape."""
    if isinstance(one, dict):
        return one.keys() == other.keys() and all(same(value, other[key]) for key, value in one.items())
    if isinstance(one, list):
        return len(one) == len(other) and all(map(same, one, other))
    return math.isclose(one, other, rel_tol=1e-6) if isinstance(one, float) else one == other


def scatter(station, rows, chance):
    """The rows in three spools, in segments of any length, some of them answered twice."""
    rows = [replace(row, repeated=True) if chance.random() < 0.05 else row for row in rows]
    rows += [replace(rows[place], label="duck") for place in chance.integers(len(rows), size=12)]
    while rows:
        size = int(chance.integers(1, 60))
        station.arrive(rows[:size], spool=f"worker-{chance.integers(3)}")
        rows = rows[size:]


@pytest.mark.parametrize("seed", range(3))
def test_where_slices_end_changes_no_window_and_no_evidence(open_station, birds, tmp_path, seed):
    station = open_station(monitor__window=90, data__group="session")
    chance = np.random.default_rng(seed)
    rows = birds.traffic(110)[0]
    station.promote(2, tmp_path, bird_profile(2))
    rows += replace(birds, version=2, seed=seed).traffic(180)[0]
    rows += replace(birds, version=2, seed=seed, clock=rows[-1].at).traffic(60, camera="C", strange=True)[0]
    for place in range(0, len(rows), 3):
        rows[place] = replace(rows[place], metadata={"camera": "A", "session": f"s{place // 9}"})
    rows[40] = replace(rows[40], at=rows[40].at - timedelta(hours=5))
    scatter(station, rows, chance)

    whole = told(looked(station))

    assert len(whole[1]) >= 3
    assert whole[2]
    for slice_rows in (200, 64, 37):
        assert same(told(looked(station, slice_rows=slice_rows)), whole)


@pytest.mark.parametrize("slice_rows", [1, 13])
def test_even_single_rows_make_the_same_windows_and_evidence(open_station, birds, slice_rows):
    station = open_station(monitor__window=50)
    scatter(station, birds.traffic(120)[0], np.random.default_rng(8))

    assert same(told(looked(station, slice_rows=slice_rows)), told(looked(station)))


def test_a_look_that_is_broken_off_leaves_nothing_behind(open_station, birds):
    station = open_station(monitor__window=50)
    station.arrive(birds.traffic(130)[0])
    broken_off = looked(station)

    outcome = tick(station.place)

    assert [window.row()["summary"] for window in outcome.windows] == [
        window.row()["summary"] for window in broken_off.windows
    ]
    assert [window.predictions for window in outcome.windows] == [50, 50]


def test_what_lies_in_closed_windows_is_never_opened_again(open_station, birds):
    station = open_station(monitor__window=50)
    station.arrive(birds.traffic(100)[0])
    first = looked(station)
    folder = Path(station.place.settings.storage.home)
    files = sorted(folder.rglob("tables/predictions/**/*.parquet"))
    station.arrive(birds.traffic(70)[0])

    for file in files:
        file.unlink()
    second = looked(station, first.state)

    assert files
    assert [window.predictions for window in (*first.windows, *second.windows)] == [50, 50, 50]
    assert second.state.open_rows == {"1": 20}
    assert second.state.predictions == 170


def test_of_a_large_open_window_only_the_newest_predictions_are_looked_back_at():
    recent = Recent()
    for number in range(1, 101):
        recent = recent.after(1_000, Cursor({"worker-0": (number, 999)}))

    behind = 100 - recent.older.places["worker-0"][0]

    assert MOST_RECENT <= behind * 1_000 <= 2 * MOST_RECENT
    assert Recent.from_json(recent.to_json()) == recent


def test_a_state_from_before_the_open_window_was_counted_is_counted_once(open_station, birds):
    station = open_station(monitor__window=50)
    station.arrive(birds.traffic(70)[0])
    state = looked(station).state
    document = state.to_json()
    del document["open_rows"], document["recent"]
    station.arrive(birds.traffic(30)[0])

    (window,) = looked(station, WatchState.from_json(1, document)).windows

    assert (window.sequence, window.predictions) == (2, 50)


def test_predictions_that_were_deleted_are_missing_from_their_window_and_stop_nothing(open_station, birds):
    station = open_station(monitor__window=50)
    station.arrive(birds.traffic(30)[0])
    state = looked(station).state
    station.place.log.predictions.delete("segment = 1")
    station.arrive(birds.traffic(20)[0])

    counted = looked(station, state)

    assert [window.predictions for window in counted.windows] == [20]
    assert counted.state.open_rows == {}


def test_a_reduced_pair_says_what_the_full_one_says(birds, reference, open_station):
    station = open_station()
    rows = birds.traffic(200, camera="B")[0] + birds.traffic(50, camera="C", strange=True)[0]
    rows[3] = replace(rows[3], probabilities=(float("nan"),) * 3)
    rows[4] = replace(rows[4], embedding=None)
    station.arrive(rows)
    stretch = new_stretch(station.place.log.predictions, Cursor(), 1_000)
    (frame,) = stretch.slices()
    reduced = reduction(reference)

    rounded = reduced.profile.batch
    like_the_log = replace(reference.batch, statistics=rounded.statistics, probabilities=rounded.probabilities)
    plain = batch_of(new_answers(station.place.log), len(BIRDS), EMBEDDING)
    full = drift_report(replace(reference, batch=like_the_log), plain)
    small = drift_report(reduced.profile, reduced.batch(frame))

    assert small.atypical == pytest.approx(full.atypical)
    assert small.new_values == full.new_values == {"camera": {"C": 50}}
    assert small.notes == full.notes
    effects = {signal.name: signal.effect for signal in full.signals}
    assert {signal.name: signal.effect for signal in small.signals} == pytest.approx(effects, abs=0.005)


def test_columns_say_what_records_say(birds, open_station):
    station = open_station()
    rows = birds.traffic(30)[0]
    rows[0] = replace(rows[0], statistics=(float("inf"),) * 9, metadata={})
    rows[1] = replace(rows[1], embedding=None, probabilities=(0.5, 0.5))
    rows[2] = replace(rows[2], metadata={"camera": "B", "shift": "night", "lens": ""})
    station.arrive(rows)
    (frame,) = new_stretch(station.place.log.predictions, Cursor(), 1_000).slices()

    found, plain = batch_in(frame, len(BIRDS), EMBEDDING), batch_of(rows, len(BIRDS), EMBEDDING)

    for name in ("statistics", "probabilities", "embedding"):
        np.testing.assert_allclose(getattr(found, name), getattr(plain, name).astype(np.float32), rtol=1e-6)
    assert list(found.labels) == list(plain.labels)
    assert [dict(row) for row in found.metadata][:4] == [{}, {"camera": "A"}, {"camera": "B", "shift": "night"},
                                                        {"camera": "A"}]  # fmt: skip
    assert found.column("shift").counts() == plain.column("shift").counts() == {"night": 1}
    assert [*found.take(np.array([2, 0])).metadata] == [{"camera": "B", "shift": "night"}, {}]


def test_a_column_of_very_many_values_is_bounded_and_the_rest_counted(open_station, birds, monkeypatch):
    monkeypatch.setattr(log_columns, "_MOST_VALUES", 150)
    station = open_station(monitor__window=400, data__subgroups='["ticket", "camera"]')
    rows = birds.traffic(400)[0]
    station.arrive([replace(row, metadata={**row.metadata, "ticket": f"t{n}"}) for n, row in enumerate(rows)])

    (window,) = looked(station).windows

    tickets = {one.value: one.predictions for one in window.summary.subgroups if one.column == "ticket"}
    assert len(tickets) == 151
    assert tickets[OTHER_VALUES] == 250
    assert sum(tickets.values()) == 400


def test_a_number_of_very_many_values_is_rounded_and_none_of_them_is_taken_for_a_new_one(birds, monkeypatch):
    """A sensor's reading is another one every time: beyond the values that are kept apart it stays a number."""
    monkeypatch.setattr(log_columns, "_MOST_VALUES", 100)
    chance = np.random.default_rng(0)
    readings = [*chance.uniform(18, 25, 2_000).tolist(), 30.0, 1e12, -1e12]
    column = Column(NUMBER, {}, low=17.9, high=25.1)
    kept = CodedColumn(len(readings), rounding(column))
    kept.put(0, coded([str(value) for value in readings]))

    found = as_numbers(kept.whole(len(readings)))

    np.testing.assert_allclose(found[:2_000], readings[:2_000], atol=7.2 / 1_000 + 1e-9)
    assert [column.is_new(str(value)) for value in found[:2_000].tolist()] == [False] * 2_000
    assert found[2_000:].tolist() == pytest.approx([30.0, 25.1 + 72, 17.9 - 72], abs=0.01)
    assert [rounding(column)(text) for text in ("nan", "warm")] == [OTHER_VALUES] * 2


def test_a_window_of_very_many_readings_is_compared_by_all_of_them(open_station, birds, monkeypatch):
    monkeypatch.setattr(log_columns, "_MOST_VALUES", 40)
    chance = np.random.default_rng(0)
    profile = replace(bird_profile(), columns={"warmth": Column(NUMBER, {}, low=18.0, high=25.0)})
    station = open_station(monitor__window=400)
    rows = birds.traffic(400)[0]
    station.arrive([replace(row, metadata={"warmth": str(chance.uniform(18, 25))}) for row in rows])

    found = window_columns.read_window(
        station.place.log.predictions, reduction(profile), Cursor(), Cursor({"worker-0": (10**9, 0)}), 10
    )

    assert atypical(profile, found.batch)["metadata"].sum() == 0
    assert np.isfinite(as_numbers(found.batch.column("warmth"))).all()


def test_a_summary_keeps_the_most_frequent_values_and_says_how_many_have_others(open_station, birds):
    station = open_station(monitor__window=400, data__subgroups='["ticket"]')
    rows = birds.traffic(400)[0]
    station.arrive([replace(row, metadata={"ticket": f"t{max(0, n - 99)}"}) for n, row in enumerate(rows)])

    (window,) = looked(station).windows

    assert len(window.summary.subgroups) == 200
    assert next(one for one in window.summary.subgroups if one.value == "t0").predictions == 100
    words = "ticket has 301 values; the 200 most frequent are kept, and 101 of 400 predictions have one of the others."
    assert words in window.summary.notes


def test_wrong_clocks_neither_stretch_a_window_nor_lose_a_row(open_station, birds):
    station = open_station(monitor__window=100)
    rows = birds.traffic(100)[0]
    usual = (rows[0].at, rows[-1].at)
    rows[50] = replace(rows[50], at=LOOK_AT + timedelta(days=700))
    rows[51] = replace(rows[51], at=rows[51].at - timedelta(days=3))
    station.arrive(rows)

    (window,) = looked(station).windows

    assert (window.started_at, window.ended_at, window.predictions) == (*usual, 100)
    assert any(
        note.startswith("2 of 100 predictions carry a time far from all others") for note in window.summary.notes
    )


def test_a_window_whose_every_time_lies_ahead_ends_when_it_is_looked_at(open_station, birds):
    station = open_station(monitor__window=50)
    station.arrive([replace(row, at=LOOK_AT + timedelta(hours=2)) for row in birds.traffic(50)[0]])

    (window,) = looked(station).windows

    assert (window.started_at, window.ended_at) == (LOOK_AT, LOOK_AT)


def test_a_night_without_traffic_belongs_to_its_window():
    evening = np.arange("2026-11-20T20:00", "2026-11-20T21:00", dtype="datetime64[m]")
    morning = evening[:10] + np.timedelta64(11, "h")

    started_at, ended_at, aside = time_span(
        np.concatenate([evening, morning]).astype("datetime64[us]"), LOOK_AT + timedelta(days=1)
    )

    assert (started_at.hour, ended_at.hour, aside) == (20, 7, 0)


def test_metadata_that_is_no_object_and_rows_with_columns_of_their_own_stop_nothing():
    texts = ['["a"]', "no json", "", None, '{"camera": "A", "count": 3}']
    texts += [json.dumps({f"column {number}": "x"}) for number in range(300)]

    found = metadata_in(pl.Series(texts, dtype=pl.String))

    assert len(found) == 305
    assert found[4] == {"camera": "A", "count": "3"}
    assert found[0] == found[2] == {}
    assert len(found.columns) == 100


def test_a_coded_column_reads_like_the_texts_it_was_made_of():
    texts = ["b", "a", "", "b"]
    column = coded(texts)

    assert list(column) == texts
    assert (column[0], column[-1], column[2]) == ("b", "b", "")
    assert list(column[1:3]) == ["a", ""]
    assert column.counts() == {"b": 2, "a": 1}
    assert column.where([value == "a" for value in column.values]).tolist() == [False, True, False, False]
    assert list(column.take(np.array([True, False, True, False]))) == ["b", ""]
    assert list(Coded((), np.array([-1, -1], dtype=np.int32))) == ["", ""]


def test_a_stretch_of_the_log_can_be_read_by_version_and_time(open_station, birds):
    station = open_station()
    rows = birds.traffic(60)[0]
    station.arrive([replace(row, model_version=1 + n % 2) for n, row in enumerate(rows)])
    log = station.place.log

    found = pl.concat(answers(log.predictions, 2, rows[10].at, rows[40].at, slice_rows=4))

    assert found["id"].to_list() == [row.id for row in rows[11:40:2]]
    assert list(answers(log.predictions, 9)) == []


@pytest.mark.slow
def test_memory_grows_by_the_projected_rows_and_not_by_the_embeddings(tmp_path):
    most = {}
    for rows in (60_000, 120_000):
        folder = tmp_path / str(rows)
        child(folder, "write", rows, 512)
        most[rows] = json.loads(child(folder, "look", rows))["seen_mb"]
        shutil.rmtree(folder)

    # From three slices on, those in flight are no more. As float32 the embeddings of 60,000 predictions alone take
    # 123 MB, as float64 246; projected they take 8.
    assert most[120_000] - most[60_000] < 110


def child(folder: Path, work: str, rows: int, *rest: int) -> str:
    command = [sys.executable, "-m", "tests.benchmarks.monitoring_speed_log", work, folder, rows, *rest]
    done = subprocess.run(
        [str(part) for part in command], cwd=ROOT, capture_output=True, text=True, check=False, timeout=600,
        env={**os.environ, "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "2"},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout
