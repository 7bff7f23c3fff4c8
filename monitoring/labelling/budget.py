"""How many labels may be asked for, and how fast predictions come: what the probabilities of a plan follow from."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta

from monitoring.labels import Budget

_DAY_S = 86_400.0
# Traffic of less than an hour says little about a day.
_LEAST_PERIOD_S = 3_600.0
_HORIZONS = (timedelta(days=1), timedelta(days=7))
# Labels of two days may be asked for within one, when traffic surges; beyond that, only as many as the clock brings.
MOST_DAYS = 2.0


@dataclass(frozen=True)
class Counted:
    """Predictions that one plan has seen, and the seconds in which they came."""

    at: datetime
    predictions: int
    period_s: float


def budget(
    *, per_day: float, audit_share: float, predictions: int, pace: float, asked_last_day: int, period_s: float
) -> Budget:
    """
    What a plan may ask of so many predictions. It depends on how many there are, and on nothing about any of them.

    Args:
        per_day: Labels that people can give a day.
        audit_share: Of these, the share drawn by chance alone.
        predictions: Seen since the last plan.
        pace: Predictions a day, as they came before.
        asked_last_day: Requests of the last 24 hours.
        period_s: Seconds since the last plan.
    """
    if per_day <= 0 or predictions <= 0:
        return Budget(0.0, 0.0)
    expected = per_day * predictions / max(pace, 1e-9)
    # Half of what is left, so that the probability falls but is never zero, and the rest of the day can be drawn from.
    most = max((MOST_DAYS * per_day - asked_last_day) / 2, per_day * min(period_s, _DAY_S) / _DAY_S)
    allowed = min(expected, most)
    return Budget(min(1.0, audit_share * allowed / predictions), (1 - audit_share) * allowed)


def pace(seen: Sequence[Counted], at: datetime) -> float:
    """Predictions a day: the higher of the last day's and the last week's rate, so that a surge is answered at once."""
    rates = [0.0]
    for horizon in _HORIZONS:
        recent = [one for one in seen if one.at > at - horizon]
        seconds = max(_LEAST_PERIOD_S, sum(one.period_s for one in recent))
        rates.append(_DAY_S * sum(one.predictions for one in recent) / seconds)
    return max(rates)
