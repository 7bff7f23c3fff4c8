"""What `kedge performance` says, gathered from a project."""

from datetime import datetime

from flows.workplace import Workplace
from monitoring.performance_records import PerformanceReport
from monitoring.performance_report import performance_report
from monitoring.watch_place import WatchPlace


def performing(place: Workplace, since: datetime | None) -> PerformanceReport | None:
    """The report on the champion since then; None where there is none."""
    watched = WatchPlace(place.settings, place.engine, place.objects, place.registry, place.log)
    return performance_report(watched, since)
