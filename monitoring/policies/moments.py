"""Moments of the clock: when a cron line came round last and next, and when quiet hours end. All in UTC."""

import re
from dataclasses import dataclass
from datetime import datetime, time, timedelta

from cronsim import CronSim, CronSimError

FIELDS = "minute hour day-of-month month day-of-week"
_HOURS = re.compile(r"\s*([01]?\d|2[0-3]):([0-5]\d)\s*-\s*([01]?\d|2[0-3]):([0-5]\d)\s*")


class CronMistake(ValueError):
    """Not a cron line, or one that never comes round; the message says why."""


@dataclass(frozen=True)
class QuietHours:
    """A part of every day, over midnight where it ends before it begins; its end no longer belongs to it."""

    begin: time
    end: time

    def until(self, at: datetime) -> datetime | None:
        """When the quiet that holds at this moment ends; None where it is not quiet."""
        moment = at.time()
        overnight = self.end < self.begin
        inside = (moment >= self.begin or moment < self.end) if overnight else self.begin <= moment < self.end
        if not inside:
            return None
        ends = at.replace(hour=self.end.hour, minute=self.end.minute, second=0, microsecond=0)
        return ends if ends > at else ends + timedelta(days=1)


def quiet_hours(text: str) -> QuietHours | None:
    """
    Read "22:00-06:00"; None for "".

    Raises:
        ValueError: it is neither, or begins when it ends; the message continues "… should be".
    """
    if not text.strip():
        return None
    found = _HOURS.fullmatch(text)
    if found is None:
        raise ValueError(f'two times of day in UTC, such as "22:00-06:00", or "" for never; found {text!r}')
    hours = [int(part) for part in found.groups()]
    quiet = QuietHours(time(hours[0], hours[1]), time(hours[2], hours[3]))
    if quiet.begin == quiet.end:
        raise ValueError(f"two different times of day; found {text!r}, which would be always or never")
    return quiet


def check_cron(line: str) -> None:
    """
    Raises:
        CronMistake: the line has not five fields, one of them cannot be read, or it never comes round.
    """
    fields = len(line.split())
    if fields != len(FIELDS.split()):
        raise CronMistake(f"it has {fields} field{'s' * (fields != 1)}")
    # Any moment will do: a line that comes round at all does so within fifty years.
    next_moment(line, datetime(2024, 1, 1))  # noqa: DTZ001 - a calendar question


def newest_moment(line: str, after: datetime, at: datetime) -> datetime | None:
    """The last time the line came round after `after` and up to `at`; None where it did not."""
    # Backwards it begins with the second before a whole one, and with the begun second itself.
    start = at if at.microsecond else at + timedelta(seconds=1)
    found: datetime = next(CronSim(line, start, reverse=True))
    return found if found > after else None


def next_moment(line: str, after: datetime) -> datetime:
    """
    The first time the line comes round after that.

    Raises:
        CronMistake: it never does, or the line cannot be read.
    """
    try:
        found: datetime = next(CronSim(line, after))
    except CronSimError as error:
        raise CronMistake(str(error)) from error
    except (StopIteration, RuntimeError) as error:
        raise CronMistake("it never comes round") from error
    return found
