"""What every page of the console has: whose it is, its moment, how soon it is read anew, and links to the others."""

from dataclasses import dataclass
from datetime import datetime

from infra.settings import Settings


@dataclass(frozen=True)
class Link:
    text: str
    href: str


@dataclass(frozen=True)
class Sheet:
    project: str
    present: datetime
    refresh_s: int
    links: tuple[Link, ...]


def refresh_s(settings: Settings) -> int:
    """Never slower than a person would reload by hand, never much faster than the watcher looks."""
    return int(min(15, max(3, settings.monitor.every_s)))
