from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from monitoring.incoming.volume import HourlyCounts, Repeats, arrivals, volume_of

NOW = datetime(2026, 11, 20, 12, 40, tzinfo=UTC)
THIS_HOUR = NOW.replace(minute=0)
HOUR = timedelta(hours=1)


def weeks_of(*cameras: str, weeks: int = 4, busiest: float = 130.0, seed: int = 0) -> HourlyCounts:
    """Traffic by day, none at night, half at weekends, of equally busy cameras."""
    hours = weeks * 168
    first = THIS_HOUR - hours * HOUR
    at = [first + place * HOUR for place in range(hours + 1)]
    daily = np.array([max(0.0, np.sin((one.hour - 6) / 12 * np.pi)) for one in at])
    weekly = np.array([0.5 if one.weekday() > 4 else 1.0 for one in at])
    mean = busiest * daily * weekly / len(cameras)
    counts = np.random.default_rng(seed).poisson(np.tile(mean[:, None], len(cameras)))
    return HourlyCounts(first, counts[:-1], cameras, counts[-1] * 2 // 3, (NOW - timedelta(minutes=1),) * len(cameras))


def with_last_hour(hourly: HourlyCounts, count: int) -> HourlyCounts:
    counts = hourly.counts.copy()
    counts[-1] = count
    return HourlyCounts(hourly.first, counts, hourly.sources, hourly.this_hour, hourly.last_at)


def test_a_week_like_the_others_is_not_worth_a_word():
    for seed in range(20):
        assert arrivals(weeks_of("A", "B", seed=seed), NOW, column="camera").notes == ()


def test_the_usual_number_is_that_of_the_hour_of_the_week():
    volume = volume_of(weeks_of(""))

    assert volume.hour == THIS_HOUR - HOUR
    assert volume.usual == pytest.approx(130 * np.sin(5 / 12 * np.pi), rel=0.1)
    assert volume.low < volume.arrived < volume.high


def test_too_few_and_too_many_arrivals_are_told_beside_what_is_usual():
    few, many = (arrivals(with_last_hour(weeks_of(""), count), NOW).notes for count in (20, 600))

    assert few[0].startswith("Unusually few arrivals: 20 in the hour from 2026-11-20 11:00 UTC, where 12")
    assert many[0].startswith("Unusually many arrivals: 600")


def test_bursty_hours_widen_the_interval():
    steady = weeks_of("", seed=1)
    wild = steady.counts * np.random.default_rng(2).gamma(2, 0.5, steady.counts.shape)
    bursty = HourlyCounts(steady.first, wild.astype(np.int64), ("",), steady.this_hour, steady.last_at)

    narrow, wide = volume_of(steady), volume_of(bursty)

    assert wide.high - wide.low > 2 * (narrow.high - narrow.low)


def test_when_nothing_arrives_any_more_it_is_said_since_when_and_what_is_usual():
    hourly = weeks_of("A", "B")
    stopped = HourlyCounts(
        hourly.first,
        np.where(np.arange(len(hourly.counts))[:, None] >= len(hourly.counts) - 2, 0, hourly.counts),
        hourly.sources,
        np.zeros(2, dtype=np.int64),
        (THIS_HOUR - timedelta(hours=2, minutes=48), THIS_HOUR - timedelta(hours=3)),
    )

    report = arrivals(stopped, NOW, column="camera")

    assert len(report.notes) == 1
    assert report.notes[0].startswith("Nothing has arrived since 2026-11-20 09:12 UTC; at this hour 1")


def test_a_quiet_night_is_not_a_stop():
    hourly = weeks_of("A")
    night = NOW.replace(hour=23)
    hours = int((night - NOW) / HOUR)
    still = np.zeros((hours, 1), dtype=np.int64)
    late = HourlyCounts(
        hourly.first,
        np.concatenate([hourly.counts, hourly.this_hour[None], still])[:-1],
        ("A",),
        still[0],
        (THIS_HOUR + timedelta(hours=5, minutes=58),),
    )

    assert not [note for note in arrivals(late, night).notes if note.startswith("Nothing")]


def test_a_camera_that_sent_every_hour_and_stopped_is_named():
    hourly = weeks_of("A", "B", busiest=400)
    counts = hourly.counts.copy()
    counts[-5:, 1] = 0
    last = THIS_HOUR - timedelta(hours=5, minutes=3)
    silent = HourlyCounts(hourly.first, counts, ("A", "B"), np.array([90, 0]), (NOW, last))

    report = arrivals(silent, NOW, column="camera")

    assert [one.source for one in report.silent] == ["B"]
    assert "camera = B has been silent since 2026-11-20 06:57 UTC" in " ".join(report.notes)
    assert report.to_json()["silent"][0]["since"] == last.isoformat()


def test_a_camera_that_never_sent_yesterday_is_new():
    hourly = weeks_of("A", "B")
    counts = hourly.counts.copy()
    counts[:-3, 1] = 0

    report = arrivals(
        HourlyCounts(hourly.first, counts, ("A", "C"), hourly.this_hour, hourly.last_at), NOW, column="camera"
    )

    assert report.new_sources == ("C",)
    assert "camera = C" in report.notes[-1]


@pytest.mark.parametrize("hours", [0, 1, 5, 47])
def test_the_first_hours_say_nothing(hours):
    hourly = HourlyCounts(THIS_HOUR - hours * HOUR, np.full((hours, 1), 50), ("",), np.array([3]), (NOW,))

    assert arrivals(hourly, NOW).notes == ()
    assert arrivals(None, NOW).notes == ()


def test_two_days_are_enough_to_miss_what_came_in_each_of_their_hours():
    hourly = HourlyCounts(THIS_HOUR - 60 * HOUR, np.append(np.full(59, 50), 0)[:, None], ("",), np.array([40]), (NOW,))

    assert arrivals(hourly, NOW).notes[0].startswith("Unusually few arrivals: 0")


def test_files_that_come_again_and_metadata_that_is_missing_are_told_beside_what_is_usual():
    repeats = Repeats(200, 0.6, 10_000, 0.02, {"camera": 0.9, "site": 0.3}, {"camera": 0.0, "site": 0.3})

    notes = arrivals(weeks_of(""), NOW, repeats).notes

    assert notes == (
        "60% of the newest 200 pictures are files that came before; 2% are usual.",
        "camera is missing in 90% of the newest 200 predictions; 0% is usual.",
    )
    assert arrivals(weeks_of(""), NOW, Repeats(200, 0.6, 0, 0.0, {}, {})).notes == ()
