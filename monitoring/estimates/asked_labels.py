"""The estimate that asked labels allow, gathered from log and requests."""

from collections.abc import Sequence
from datetime import datetime

import numpy as np

from monitoring.estimates.asked import Asked, expected_of
from monitoring.estimates.asked_rows import Stretch, asked_rows, stretch
from monitoring.estimates.calibrator import Calibrator, calibrator
from monitoring.estimates.corrected import Corrected, corrected
from monitoring.estimates.scores import reference_scores
from monitoring.labelling.requests import LabelRequest
from monitoring.quality.records import SubgroupCorrected
from monitoring.reference.profile import ReferenceProfile
from monitoring.watching.place import WatchPlace


def with_asked_labels(
    place: WatchPlace, profile: ReferenceProfile, asked: Sequence[LabelRequest], since: datetime
) -> tuple[Corrected | None, tuple[SubgroupCorrected, ...]]:
    """
    The estimate since then, overall and of each value of a subgroup column that was asked about.

    Args:
        place: Where to read.
        profile: Of the champion; its held-out images say what confidence is worth.
        asked: Requests about the champion's predictions, of any time and state.
        since: Those before say what weight the confidences deserve.
    """
    reference = reference_scores(profile)
    if not len(reference):
        return None, ()
    settings, honest = place.settings.data, calibrator(reference)
    columns = [*dict.fromkeys([*settings.subgroups, *([settings.group] if settings.group else [])])]
    found = stretch(place.log, honest, profile.version, since, columns)
    mine, places = asked_rows(found, [one for one in asked if one.predicted_at >= since], settings.group)
    earlier = _earlier(place, honest, profile.version, [one for one in asked if one.predicted_at < since])
    whole = corrected(mine, expected_of(found.expected), earlier)
    groups = []
    for column in settings.subgroups:
        of_column = found.columns[column]
        for value in sorted(of_column.take(places).counts()):
            code = of_column.values.index(value)
            member = of_column.codes == code
            part = corrected(mine.take(member[places]), expected_of(found.expected[member]), earlier)
            groups.append(SubgroupCorrected(column, value, part))
    return whole, tuple(groups)


def _earlier(place: WatchPlace, honest: Calibrator, version: int, asked: Sequence[LabelRequest]) -> Asked:
    """Requests of the time before: they say what weight the confidences deserve."""
    if not asked:
        nothing = Stretch((), (), np.empty(0), {})
        return asked_rows(nothing, ())[0]
    start = min(one.predicted_at for one in asked)
    return asked_rows(stretch(place.log, honest, version, start, ()), asked)[0]
