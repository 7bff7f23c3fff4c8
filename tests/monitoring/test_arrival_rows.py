from dataclasses import replace
from datetime import timedelta

import pytest

from infra.clock import now
from monitoring.incoming.rows import hourly_counts, repeats


@pytest.fixture
def traffic(open_station, birds):
    """Two cameras, a picture each half hour and each hour, over three days; and a station that logged them."""
    station = open_station()
    rows, _ = birds.traffic(220)
    moment = now().replace(minute=30, second=0, microsecond=0)
    made = [
        replace(row, at=moment - timedelta(minutes=30 * place), metadata={"camera": "A" if place % 2 else "B's \\one"})
        for place, row in enumerate(rows)
    ]
    return station, moment + timedelta(minutes=5), made


def test_arrivals_are_counted_by_hour_and_camera(traffic):
    station, moment, rows = traffic
    station.arrive(rows)

    hourly = hourly_counts(station.place.log, moment, "camera")

    assert sorted(hourly.sources) == ["A", "B's \\one"]
    assert (hourly.counts.sum(axis=1)[1:] == 2).all()
    assert hourly.counts.sum() + hourly.this_hour.sum() == 220
    assert hourly.last_at[hourly.sources.index("B's \\one")] == rows[0].at


def test_without_a_source_column_all_are_counted_together(traffic):
    station, moment, rows = traffic
    station.arrive(rows)

    assert hourly_counts(station.place.log, moment, "").sources == ("",)
    assert hourly_counts(station.place.log, moment, "weather").sources == ("",)


def test_what_a_fast_clock_dates_ahead_waits_for_its_hour(traffic):
    station, moment, rows = traffic
    station.arrive([*rows, *(replace(row, id=f"x{row.id}", at=moment + timedelta(hours=9)) for row in rows[:9])])

    hourly = hourly_counts(station.place.log, moment, "camera")

    assert hourly.counts.sum() + hourly.this_hour.sum() == 220


def test_an_empty_log_has_no_arrivals(open_station):
    log = open_station().place.log

    assert hourly_counts(log, now(), "camera") is None
    assert repeats(log, now(), 200, ["camera"]) is None


def test_when_nothing_came_for_a_week_there_is_nothing_to_be_repeated(traffic):
    station, moment, rows = traffic
    station.arrive(rows)

    assert repeats(station.place.log, moment + timedelta(days=30), 100, ["camera"]) is None


def test_files_that_came_before_and_missing_cameras_are_counted(traffic):
    station, moment, rows = traffic
    newest = [replace(row, image_sha256="ab" * 32, metadata={}) for row in rows[:50]]
    station.arrive([*newest, *rows[50:]])

    found = repeats(station.place.log, moment, 100, ["camera"])

    assert found.rows == 100
    assert found.repeated == pytest.approx(0.49)
    assert found.missing == {"camera": 0.5}
    assert found.usual_rows == 120
    assert (found.usual_repeated, found.usual_missing) == (0.0, {"camera": 0.0})
