from datetime import timedelta

import pytest

from flows import doctor, timetable
from infra.clock import now
from infra.errors import UserError
from infra.settings import load


def with_cron(tmp_path, cron, section="TRIGGER"):
    return load(tmp_path, {f"KEDGE_{section}__CRON": cron})


def test_the_watcher_looks_as_often_as_the_settings_say(tmp_path):
    schedule = timetable.watch_schedule(load(tmp_path, {"KEDGE_MONITOR__EVERY_S": "8"}))

    assert schedule.interval == timedelta(seconds=8)
    assert timedelta(0) < schedule.anchor_date - now() < timedelta(seconds=8)


@pytest.mark.parametrize(
    ("cron", "reason"),
    [("0 3 * *", "it has 4 fields"), ("0 3 * * 0 7 9", "it has 7 fields"), ("0 25 * * 0", "Bad hour")],
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


def test_a_line_for_tidying_that_cannot_be_kept_is_refused_too(tmp_path):
    with pytest.raises(UserError, match=r"retention\.cron should be five fields"):
        timetable.check(with_cron(tmp_path, "0 25 * * 0", "RETENTION"))


def test_what_starts_a_retrain_is_checked_before_anything_starts(tmp_path):
    with pytest.raises(UserError, match="'harms' is no policy; did you mean harm"):
        timetable.check(load(tmp_path, {"KEDGE_TRIGGER__WHEN": "any(harms, schedule)"}))


def test_the_doctor_names_a_policy_that_can_never_ask(tmp_path):
    settings = load(tmp_path, {"KEDGE_TRIGGER__WHEN": "any(harm, bias)"})

    *_, warned = doctor._settings(settings)

    assert (warned.state, warned.words) == (
        "warn", "trigger.when names bias, but trigger.most_subgroup_gap is not set, so it never asks."
    )  # fmt: skip
