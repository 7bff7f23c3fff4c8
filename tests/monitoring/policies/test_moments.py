from datetime import UTC, datetime, time, timedelta

import pytest

from monitoring.policies.moments import CronMistake, QuietHours, check_cron, newest_moment, next_moment, quiet_hours

SUNDAYS_AT_THREE = "0 3 * * 0"
WEDNESDAY = datetime(2026, 11, 18, 12, 30, tzinfo=UTC)
SUNDAY = datetime(2026, 11, 15, 3, 0, tzinfo=UTC)


def test_a_cron_line_came_round_last_and_comes_round_next():
    assert newest_moment(SUNDAYS_AT_THREE, datetime(2026, 11, 1, tzinfo=UTC), WEDNESDAY) == SUNDAY
    assert next_moment(SUNDAYS_AT_THREE, WEDNESDAY) == datetime(2026, 11, 22, 3, 0, tzinfo=UTC)


def test_the_moment_itself_has_come_round_once():
    assert newest_moment(SUNDAYS_AT_THREE, datetime(2026, 11, 14, tzinfo=UTC), SUNDAY) == SUNDAY
    assert newest_moment(SUNDAYS_AT_THREE, SUNDAY, SUNDAY.replace(microsecond=7)) is None
    just_before = SUNDAY - timedelta(microseconds=1)
    assert newest_moment(SUNDAYS_AT_THREE, datetime(2026, 11, 14, tzinfo=UTC), just_before) is None


@pytest.mark.parametrize(
    ("line", "reason"),
    [("0 3 * *", "4 fields"), ("0 3 * * 0 7", "6 fields"), ("0 25 * * 0", "Bad hour"), ("0 0 31 2 *", "day-of-month")],
)
def test_a_line_that_cannot_be_kept_is_no_cron_line(line, reason):
    with pytest.raises(CronMistake, match=reason):
        check_cron(line)


def test_quiet_hours_may_run_over_midnight():
    night = quiet_hours("22:00-6:00")

    assert night == QuietHours(time(22), time(6))
    assert night.until(datetime(2026, 11, 18, 23, 15, tzinfo=UTC)) == datetime(2026, 11, 19, 6, tzinfo=UTC)
    assert night.until(datetime(2026, 11, 18, 5, 59, tzinfo=UTC)) == datetime(2026, 11, 18, 6, tzinfo=UTC)
    assert night.until(datetime(2026, 11, 18, 6, 0, tzinfo=UTC)) is None
    assert night.until(WEDNESDAY) is None


def test_quiet_hours_within_a_day_end_the_same_day():
    noon = quiet_hours("12:00 - 13:30")

    assert noon.until(WEDNESDAY) == datetime(2026, 11, 18, 13, 30, tzinfo=UTC)
    assert quiet_hours("") is None


@pytest.mark.parametrize("text", ["22-6", "22:00", "25:00-06:00", "22:00-06:60", "night", "22:00-22:00"])
def test_quiet_hours_that_cannot_be_read_are_refused(text):
    with pytest.raises(ValueError, match="times of day"):
        quiet_hours(text)
