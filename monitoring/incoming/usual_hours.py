"""How much usually arrives in an hour: a negative binomial about the same hour of the weeks before."""

from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from monitoring.watching.batch import Floats

WEEKS = 4
HOUR, _WEEK_HOURS = timedelta(hours=1), 168
# Fewer hours than this do not show what a week is like, and fewer arrivals than this are missed by nobody.
LEAST_HISTORY_HOURS, _LEAST_USUAL = 48, 5.0


def usual_at(history: Floats, place: int) -> tuple[float, float] | None:
    """
    Mean of the hour at `place` as those before it have it, and the size of its negative binomial.

    The mean is that of the same hour of the week, drawn towards that of the same hour of the day while weeks are few.
    The size comes from all such hours' scatter about their means, by the method of moments.
    """
    known = history[np.argmax(history > 0) :] if (history > 0).any() else history[:0]
    if len(known) < LEAST_HISTORY_HOURS:
        return None
    means = _pattern(known, place - len(history) + len(known))
    usual = float(means[-1])
    if usual < _LEAST_USUAL:
        return None
    expected = means[:-1]
    excess = float(((known - expected) ** 2 - known).sum() / max(float((expected**2).sum()), 1e-9))
    # Each mean came from a handful of hours: its own error widens the prediction by about a third.
    spread = max(excess, 0.0) * 4 / 3 + 1 / max(usual * min(WEEKS, len(known) / _WEEK_HOURS + 1), 1.0)
    return usual, 1 / max(spread, 1e-6)


def _pattern(known: Floats, upcoming: int) -> Floats:
    """Means of the known hours, and of the hour at `upcoming` (its place counted from the first known one)."""
    places = np.append(np.arange(len(known)), upcoming)
    by_day, by_week = _means(known, places, 24), _means(known, places, _WEEK_HOURS)
    whole = len(known) // _WEEK_HOURS
    trust = whole / (whole + 1)
    mixed: Floats = trust * np.where(np.isfinite(by_week), by_week, by_day) + (1 - trust) * by_day
    return np.where(np.isfinite(mixed), mixed, known.mean())


def _means(known: Floats, places: NDArray[np.int64], period: int) -> Floats:
    phase = np.arange(len(known)) % period
    count = np.bincount(phase, minlength=period)
    total = np.bincount(phase, weights=known, minlength=period)
    mean = np.divide(total, count, out=np.full(period, np.nan), where=count > 0)
    found: Floats = mean[places % period]
    return found


def usual_since(totals: Floats, first: datetime, last: datetime, now: datetime) -> tuple[float, float, float] | None:
    """Arrivals usual between `last` and `now`, the size of their law, and the usual number in the hour of `now`."""
    begun = int((last - first) / HOUR)
    history = totals[: max(begun, 0)]
    usual, sizes, rate = 0.0, [], 0.0
    for place in range(max(begun, 0), int((now - first) / HOUR) + 1):
        found, rate = usual_at(history, place), 0.0
        if found is None:
            continue
        start = first + place * HOUR
        part = (min(now, start + HOUR) - max(last, start)) / HOUR
        usual, rate = usual + found[0] * max(part, 0.0), found[0]
        sizes.append(found[1])
        if len(sizes) >= _WEEK_HOURS:
            break
    return (usual, float(np.median(sizes)), rate) if sizes else None
