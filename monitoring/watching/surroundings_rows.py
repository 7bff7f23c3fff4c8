"""Reading the surroundings: now and then, at a pace that never costs a look more than it is worth."""

import logging
import time
from dataclasses import replace
from datetime import datetime, timedelta

from monitoring.incoming.rows import arrivals_of
from monitoring.incoming.volume import ArrivalReport
from monitoring.quality.facts import labelled_facts
from monitoring.watching.place import WatchPlace
from monitoring.watching.surroundings import Surroundings

_log = logging.getLogger(__name__)

_LEAST_PAUSE = timedelta(seconds=30)
# A reading that takes a second is repeated after not less than a hundred: one processor in a hundred at most.
_PAUSE_PER_READING = 100
# Older than this, "nothing has arrived since" is no news any more.
_MOST_PAUSE = timedelta(hours=1)
_UNREAD = ArrivalReport(("Arrivals and the completeness of labels could not be read; the watcher's log has more.",))


def read_surroundings(place: WatchPlace, version: int, before: Surroundings, at: datetime) -> Surroundings:
    """As they are now where they are due, else as they were; whatever goes wrong with them, the look stands."""
    if not before.is_due(version, at):
        return before
    began = time.monotonic()
    try:
        found = Surroundings(version, arrivals_of(place, at), labelled_facts(place, version, at))
    except Exception:  # noqa: BLE001 - what stands beside a verdict is never worth the verdict
        _log.exception("Arrivals and the completeness of labels could not be read")
        found = Surroundings(version, _UNREAD)
    took = timedelta(seconds=time.monotonic() - began)
    return replace(found, again_at=at + min(max(_LEAST_PAUSE, _PAUSE_PER_READING * took), _MOST_PAUSE))
