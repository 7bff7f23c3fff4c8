"""Numbers, times and states in the words of the page."""

from datetime import datetime, timedelta

_MINUTE, _HOUR, _DAY = 60, 3600, 86_400
NOTHING = "\u2013"


def ago(moment: datetime, present: datetime) -> str:
    """How long ago, in one unit: "just now", "4 minutes ago", "3 days ago"."""
    seconds = max(0.0, (present - moment).total_seconds())
    return "just now" if seconds < 10 else f"{duration(timedelta(seconds=seconds))} ago"  # noqa: PLR2004 - by eye


def duration(span: timedelta) -> str:
    """A length of time in its largest fitting unit."""
    seconds = span.total_seconds()
    if seconds < _MINUTE:
        return _counted(int(seconds), "second")
    if seconds < _HOUR:
        return _counted(int(seconds // _MINUTE), "minute")
    if seconds < 2 * _DAY:
        return _counted(int(seconds // _HOUR), "hour")
    return _counted(int(seconds // _DAY), "day")


def age(moment: datetime, present: datetime) -> str:
    """The same where there is little room: "40 min ago"."""
    said = ago(moment, present)
    for long, short in ((" seconds", " s"), (" second", " s"), (" minutes", " min"), (" minute", " min")):
        said = said.replace(long, short)
    return said


def clock(moment: datetime, present: datetime) -> str:
    """The time of day today, with the date on other days; UTC."""
    if moment.date() == present.date():
        return f"{moment:%H:%M:%S}"
    if moment.year == present.year:
        return f"{moment.day} {moment:%b %H:%M}"
    return f"{moment.day} {moment:%b %Y}"


def stamp(moment: datetime) -> str:
    """The full moment, for a tooltip."""
    return f"{moment:%Y-%m-%d %H:%M:%S} UTC"


def percent(share: float | None, digits: int = 1) -> str:
    """A share of 0..1 as a percentage; a dash where there is none."""
    return NOTHING if share is None else f"{100 * share:.{digits}f} %"


def count(number: float) -> str:
    """A whole number with thin spaces between thousands."""
    return f"{round(number):,}".replace(",", "\u202f")


def rate(per_second: float | None) -> str:
    """Predictions per second, minute or hour, whichever reads well."""
    if per_second is None:
        return NOTHING
    for factor, unit in ((1, "s"), (_MINUTE, "min"), (_HOUR, "h")):
        if per_second * factor >= 1 or unit == "h":
            value = per_second * factor
            return f"{value:.0f} / {unit}" if value >= 10 else f"{value:.1f} / {unit}"  # noqa: PLR2004 - two digits
    return NOTHING


def plural(number: int, noun: str, many: str = "") -> str:
    """The number with its noun, as in "1 worker", "3 workers"."""
    return f"{count(number)} {noun if number == 1 else many or noun + 's'}"


def _counted(number: int, noun: str) -> str:
    return plural(max(1, number), noun)
