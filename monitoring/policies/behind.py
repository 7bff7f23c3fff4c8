"""Which subgroups an audit found behind, and by how much at least."""

from monitoring.bias import DIFFERS, BiasReport
from monitoring.policies.records import Behind
from monitoring.subgroups.differences import Difference
from monitoring.subgroups.rates import ACCURACY, FALSE_POSITIVES, PRECISION, RECALL

_BETTER_HIGH = (ACCURACY, PRECISION, RECALL)


def behind_in(report: BiasReport) -> tuple[Behind, ...]:
    """
    Every rate in which a judged subgroup differs to its disadvantage, beyond chance after Holm's correction.

    Its points are the near end of the difference's 95 % interval: so much at least.
    """
    found = []
    for group in report.groups:
        if group.verdict != DIFFERS:
            continue
        for one in group.different:
            points = _points(one)
            if points > 0 and not one.repeats:
                found.append(Behind(group.short, one.name, points, one.words()))
    return tuple(found)


def _points(one: Difference) -> float:
    near = one.difference.high if one.metric in _BETTER_HIGH else one.difference.low
    if near is None or one.metric not in (*_BETTER_HIGH, FALSE_POSITIVES):
        return 0.0
    return -near if one.metric in _BETTER_HIGH else near
