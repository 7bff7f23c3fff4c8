"""When the flows run on their own: the watcher by seconds, tidying by cron. What retrains, each look decides."""

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
    Refuse what cannot be kept, before anything is started with it: the section [trigger], and the hour of tidying.

    Raises:
        UserError: a cron line is none, or never comes; or it cannot be told what starts a retrain.
    """
    from monitoring.policies.rules import rules_of

    rules_of(settings)
    cron = settings.retention.cron.strip()
    if cron:
        _check_cron("retention.cron", cron, '"30 3 * * *" for every day at 3:30')


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


def tidy_schedules(settings: Settings) -> list[Any]:
    """
    Prefect's schedules of the tidy deployment: none, or `retention.cron`, in UTC.

    Raises:
        UserError: as `check`.
    """
    check(settings)
    cron = settings.retention.cron.strip()
    if not cron:
        return []
    from prefect.schedules import Cron

    return [Cron(cron, timezone="UTC")]


def _mistake(setting: str, cron: str, example: str, reason: str) -> str:
    return (
        f"{setting} should be five fields, {_FIELDS}, in UTC; found {cron!r}: {reason}. "
        f'Write {example}, or "" for never.'
    )
