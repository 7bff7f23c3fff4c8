from datetime import timedelta

import pytest

from flows import timetable
from infra.clock import now
from infra.errors import UserError
from infra.settings import load


def with_cron(tmp_path, cron):
    return load(tmp_path, {"KEDGE_TRIGGER__CRON": cron})


def test_without_a_cron_line_nothing_retrains_by_the_clock(settings):
    assert timetable.retrain_schedules(settings) == []


def test_a_cron_line_is_kept_in_utc(tmp_path):
    (schedule,) = timetable.retrain_schedules(with_cron(tmp_path, "0 3 * * 0"))

    assert (schedule.cron, schedule.timezone) == ("0 3 * * 0", "UTC")


def test_the_watcher_looks_as_often_as_the_settings_say(tmp_path):
    schedule = timetable.watch_schedule(load(tmp_path, {"KEDGE_MONITOR__EVERY_S": "8"}))

    assert schedule.interval == timedelta(seconds=8)
    assert timedelta(0) < schedule.anchor_date - now() < timedelta(seconds=8)


@pytest.mark.parametrize(
    ("cron", "reason"),
    [("0 3 * *", "it has 4 fields"), ("0 3 * * 0 7 9", "it has 7 fields"), ("0 25 * * 0", "Invalid cron")],
)
def test_a_cron_line_that_cannot_be_kept_is_refused_with_an_example(tmp_path, cron, reason):
    with pytest.raises(UserError) as raised:
        timetable.check(with_cron(tmp_path, cron))

    message = str(raised.value)
    assert message.startswith(
        f"trigger.cron should be five fields, minute hour day-of-month month day-of-week, in UTC; found {cron!r}: "
    )
    assert reason in message
    assert message.endswith('Write "0 3 * * 0" for Sundays at three, or "" for never.')
