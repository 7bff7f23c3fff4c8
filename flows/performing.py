"""What `kedge performance` says, gathered from a project."""

from datetime import datetime

from flows.watching import watch_place
from flows.workplace import Workplace
from monitoring.quality.records import PerformanceReport
from monitoring.quality.report import performance_report


def performing(place: Workplace, since: datetime | None) -> PerformanceReport | None:
    """The report on the champion since then; None where there is none."""
    return performance_report(watch_place(place), since)
