"""Traffic as the specification of the evidence simulates it: scores, atypical pictures and wrong answers, by day."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Bits = NDArray[np.float64]

SIGNALS = 4
_CORRELATION = 0.5
# Held-out images are never quite like production: a harmless, constant difference, in standard deviations.
STATIC_OFFSET = 0.1
# Beyond this a standard normal score lies in 1 of 100.
ATYPICAL_FROM = 2.3263478740408408


@dataclass(frozen=True)
class World:
    """
    What the traffic does; everything in standard deviations of one picture's score.

    Attributes:
        day_sd: Deviation of the effect that a whole day shares.
        cycle: Amplitude of the cycle within each day.
        weekday: Amplitude of the pattern over the week.
        autocorrelation: Of the day effects, lag 1.
        shift: In one signal, from `shift_day` on.
        ramp: Added to the same signal each day from `shift_day` on.
    """

    day_sd: float = 0.2
    cycle: float = 0.0
    weekday: float = 0.0
    autocorrelation: float = 0.0
    shift: float = 0.0
    ramp: float = 0.0
    shift_day: int = 0


def scores(world: World, days: int, per_day: int, chance: np.random.Generator) -> Floats:
    """Shape (days, per_day, 4): signals correlated 0.5, the change in the first of them."""
    shared = chance.standard_normal((days, per_day, 1)) * np.sqrt(_CORRELATION)
    own = chance.standard_normal((days, per_day, SIGNALS)) * np.sqrt(1 - _CORRELATION)
    drawn = shared + own + STATIC_OFFSET + _day_effects(world, days, chance)[:, None, :]
    hour = np.arange(per_day) / per_day
    drawn += (world.cycle * np.sin(2 * np.pi * hour))[None, :, None]
    drawn += (world.weekday * np.sin(2 * np.pi * np.arange(days) / 7))[:, None, None]
    since = np.arange(days) - world.shift_day
    drawn[:, :, 0] += np.where(since >= 0, world.shift + world.ramp * (since + 1), 0.0)[:, None]
    return drawn


def bits(share: float, count: int, chance: np.random.Generator) -> Bits:
    """Shape (count,): 1 with probability `share`, else 0."""
    return (chance.random(count) < share).astype(np.float64)


def _day_effects(world: World, days: int, chance: np.random.Generator) -> Floats:
    effects = chance.standard_normal((days, SIGNALS)) * world.day_sd
    if world.autocorrelation:
        keep = world.autocorrelation
        for day in range(1, days):
            effects[day] = keep * effects[day - 1] + np.sqrt(1 - keep * keep) * effects[day]
    return effects
