"""When the flows run on their own: the watcher by seconds, tidying by cron, retraining by cron besides its triggers."""

from datetime import timedelta
from typing import Any

from infra.clock import now
from infra.errors import UserError
from infra.settings import Settings

# When everything has settled after the start.
_FIRST_LOOK = timedelta(seconds=5)
_FIELDS = "minute hour day-of-month month day-of-week"


def check(settings: Settings) -> None:
    """
    Refuse a timetable that cannot be kept, before anything is started with it.

    Raises:
        UserError: trigger.cron or retention.cron is not a cron line, or one that never comes.
    """
    for setting, cron, example in _crons(settings):
        if cron:
            _check_cron(setting, cron, example)


def _crons(settings: Settings) -> tuple[tuple[str, str, str], ...]:
    """Setting, its cron line, and an example for a person who has to mend it."""
    return (
        ("trigger.cron", settings.trigger.cron.strip(), '"0 3 * * 0" for Sundays at three'),
        ("retention.cron", settings.retention.cron.strip(), '"30 3 * * *" for every day at 3:30'),
    )


def _check_cron(setting: str, cron: str, example: str) -> None:
    from prefect.client.schemas.schedules import CronSchedule

    fields = len(cron.split())
    if fields != len(_FIELDS.split()):
        raise UserError(_mistake(setting, cron, example, f"it has {fields} field{'s' * (fields != 1)}"))
    try:
        CronSchedule(cron=cron, timezone="UTC")
    except ValueError as error:
        # The validator's first line is about its own class; the reason comes after.
        reason = str(error).split("Value error, ")[-1].split(" [type=")[0]
        raise UserError(_mistake(setting, cron, example, reason)) from error


def watch_schedule(settings: Settings) -> Any:
    """Prefect's schedule of the watch deployment: a first look soon after the start, then every so many seconds."""
    from prefect.schedules import Interval

    return Interval(timedelta(seconds=settings.monitor.every_s), anchor_date=now() + _FIRST_LOOK)


def retrain_schedules(settings: Settings) -> list[Any]:
    """
    Prefect's schedules of the retrain deployment: none, or the cron line, in UTC.

    Raises:
        UserError: as `check`.
    """
    check(settings)
    return _schedules(settings.trigger.cron)


def tidy_schedules(settings: Settings) -> list[Any]:
    """
    Prefect's schedules of the tidy deployment: none, or `retention.cron`, in UTC.

    Raises:
        UserError: as `check`.
    """
    check(settings)
    return _schedules(settings.retention.cron)


def _schedules(cron: str) -> list[Any]:
    if not cron.strip():
        return []
    from prefect.schedules import Cron

    return [Cron(cron.strip(), timezone="UTC")]


def _mistake(setting: str, cron: str, example: str, reason: str) -> str:
    return (
        f"{setting} should be five fields, {_FIELDS}, in UTC; found {cron!r}: {reason}. "
        f'Write {example}, or "" for never.'
    )
