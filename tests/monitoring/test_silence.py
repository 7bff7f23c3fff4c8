from datetime import UTC, datetime, timedelta

from infra.clock import now
from infra.database import writing
from infra.ledger import Ledger
from monitoring import history
from monitoring.watching.rows import write_beat
from monitoring.watching.silence import check_silence, silence

NOON = datetime(2026, 11, 1, 12, tzinfo=UTC)


def test_a_watcher_that_looked_lately_is_not_silent():
    assert silence(NOON, NOON - timedelta(hours=9), NOON + timedelta(seconds=800), 900) is None


def test_silence_is_counted_from_the_last_look_or_from_when_listening_began():
    late = NOON + timedelta(seconds=1_000)

    assert silence(NOON, NOON - timedelta(hours=9), late, 900).seconds == 1_000
    assert silence(None, NOON, late, 900).since == NOON
    assert silence(NOON - timedelta(days=3), NOON, NOON + timedelta(seconds=10), 900) is None


def test_a_silence_raises_one_alarm_however_often_it_is_asked_about(open_station):
    place = open_station().place
    with writing(place.engine) as connection:
        write_beat(connection, place.name)
    began = now() - timedelta(hours=1)

    assert check_silence(place.engine, place.name, began, most_s=900) is None
    for _ in range(3):
        assert check_silence(place.engine, place.name, began, most_s=0.0) is not None

    alarms = history.alarms(place.engine, place.name)
    assert [(row["lane"], row["detector"]) for row in alarms] == [("watcher", "heartbeat")]
    assert "The watcher has not looked for" in alarms[0]["facts"]["words"]


def test_the_next_look_ends_the_alarm_about_silence_and_says_so_in_the_ledger(open_station):
    place = open_station().place
    check_silence(place.engine, place.name, now() - timedelta(hours=1), most_s=0.0)
    assert history.standing(place.engine, place.name).open_alarms == {"watcher": 1}

    for _ in range(2):
        with writing(place.engine) as connection:
            write_beat(connection, place.name)

    assert history.standing(place.engine, place.name).open_alarms == {}
    assert [row.kind for row in Ledger(place.engine).rows("watch")] == ["watcher silent", "watcher heard again"]
