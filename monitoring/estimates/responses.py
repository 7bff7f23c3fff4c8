"""Who answered of those that were asked: labels that never come may be the hard ones."""

from dataclasses import dataclass

import numpy as np

from monitoring.estimates.asked import Asked, Expected
from monitoring.estimates.prediction_powered import corrected_mean
from monitoring.estimates.scores import Flags
from monitoring.performance import Interval

LEAST_RESPONSE = 0.8


@dataclass(frozen=True)
class Response:
    """Of one stratum: requests that are settled (answered, skipped or overdue), and the share that was answered."""

    stratum: str
    settled: int
    answered: int
    rate: float


def responses(asked: Asked) -> tuple[Response, ...]:
    """By stratum, those with the most requests first."""
    found = []
    for stratum, settled in asked.strata.counts().items():
        member = asked.strata.codes == asked.strata.values.index(stratum)
        answered = int(asked.answered[member].sum())
        found.append(Response(stratum, settled, answered, answered / settled))
    return tuple(found)


def lowest_rate(asked: Asked) -> float | None:
    """Response rate of the stratum that answers least, 0..1; None where nothing is settled."""
    return min((one.rate for one in responses(asked)), default=None)


def worst_case(asked: Asked, expected: Expected, weight: float) -> Interval:
    """
    Where the truth lies whatever the missing labels would have been (Manski 1990): value None, lower and upper end.

    Below: every prediction that nobody answered about was wrong; above: every one was right. Both ends with their
    sampling error.
    """
    low = corrected_mean(_filled(asked, np.zeros(len(asked), dtype=bool)), expected, weight)
    high = corrected_mean(_filled(asked, np.ones(len(asked), dtype=bool)), expected, weight)
    return Interval(None, low.low, high.high)


def _filled(asked: Asked, right: Flags) -> Asked:
    return Asked(
        np.ones(len(asked), dtype=bool),
        np.where(asked.answered, asked.right, right),
        asked.expected,
        asked.probability,
        asked.uniform,
        asked.in_audit,
        asked.strata,
        asked.groups,
    )
