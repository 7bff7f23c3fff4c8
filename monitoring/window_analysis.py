"""What a window's answers tell by themselves: how accurate they probably are, and what kind of shift they show."""

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from monitoring.estimates.estimate import Estimate, estimate
from monitoring.identification import ShiftReport, identify
from monitoring.window_columns import WindowColumns

_log = logging.getLogger(__name__)
_Found = TypeVar("_Found")


@dataclass(frozen=True)
class WindowAnalysis:
    """Either is None where it could not be computed; `notes` say why."""

    estimate: Estimate | None
    shift: ShiftReport | None
    notes: tuple[str, ...] = ()


def analyse(columns: WindowColumns, *, subgroups: Sequence[str], group: str, gross_quiet: bool) -> WindowAnalysis:
    """
    Both for one window; whatever goes wrong with either, the window stands and says so.

    Args:
        columns: The window.
        subgroups: Metadata columns, each value of which is estimated by itself.
        group: Metadata column of predictions that belong together; "" = each stands alone.
        gross_quiet: No alarm of the gross lane is open.
    """
    guessed, told = _tried(
        "The accuracy without labels",
        lambda: estimate(
            columns.profile, columns.batch, gross_quiet=gross_quiet, subgroups=tuple(subgroups), group=group
        ),
    )
    shift, said = _tried("The kind of shift", lambda: identify(columns.profile, columns.batch))
    return WindowAnalysis(guessed, shift, (*told, *said))


def _tried(what: str, compute: Callable[[], _Found]) -> tuple[_Found | None, tuple[str, ...]]:
    try:
        return compute(), ()
    except Exception as error:  # noqa: BLE001 - a figure beside the verdict is never worth the window
        _log.exception("%s of a window could not be computed", what)
        return None, (f"{what} could not be computed ({type(error).__name__}: {error}); the watcher's log has more.",)
