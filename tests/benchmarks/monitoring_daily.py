"""The block lane on simulated days, beside rules that look once a day at the same pictures."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from monitoring.blocks import lane as block_lane
from tests.benchmarks.monitoring_rows import Row
from tests.benchmarks.monitoring_rules import DAILY, STREAMING, days_to_alarm
from tests.benchmarks.monitoring_streams import SIGNALS, Floats, World, scores
from tests.benchmarks.results import Measured

_DAYS, _PER_DAY, _REFERENCE = 90, 200, 2_000
# Beyond the noise of as many runs as are made here, and of the specification's own.
_MOST_APART, _DELAY_APART = 0.08, 0.30
_RIVALS = (*DAILY, *STREAMING)


@dataclass(frozen=True)
class Line:
    """One world, with what the specification found in it: a chance of any alarm, or the median delay in days."""

    words: str
    world: World
    burn_in: int = 14
    chance: float | None = None
    delay: float | None = None


def _quiet(words: str, specified: float | None, burn_in: int = 14, **world: float) -> Line:
    return Line(f"no change, {words}", World(**world), burn_in, chance=specified)  # type: ignore[arg-type]  # floats all


def _changed(words: str, specified: float | None, burn_in: int, **world: float) -> Line:
    return Line(words, World(**world, shift_day=burn_in), burn_in, delay=specified)  # type: ignore[arg-type]  # as above


LINES = (
    *(_quiet(f"day effect 0.2, burn-in {m}", p, m) for m, p in ((10, 0.23), (14, 0.22), (28, 0.22), (60, 0.15))),
    _quiet("no day effect", None, day_sd=0.0),
    _quiet("day effect 0.4", None, day_sd=0.4),
    _quiet("daily cycle 0.2", None, cycle=0.2),
    _quiet("weekday pattern 0.3", 0.13, 28, weekday=0.3),
    _quiet("weekday pattern 0.6", 0.05, 28, weekday=0.6),
    *(_quiet(f"blocks correlated {r:g}", None, 28, autocorrelation=r) for r in (0.2, 0.3, 0.5)),
    *(_changed(f"shift 0.4, burn-in {m}", d, m, shift=0.4) for m, d in ((10, 11), (14, 9), (28, 8), (60, 7))),
    *(_changed(f"shift 0.8, burn-in {m}", d, m, shift=0.8) for m, d in ((10, 7), (14, 6), (28, 4), (60, 4))),
    *(_changed(f"shift 5, burn-in {m}", d, m, shift=5.0) for m, d in ((10, 7), (14, 6), (28, 4), (60, 3))),
    *(_changed(f"ramp {r:g} a day, burn-in 28", d, 28, ramp=r) for r, d in ((0.005, 48), (0.01, 31), (0.02, 20))),
    _changed("shift 0.8, day effect 0.4, burn-in 28", 8, 28, shift=0.8, day_sd=0.4),
    _changed("shift 0.2, no day effect, burn-in 28", 5, 28, shift=0.2, day_sd=0.0),
)


def rows(measured: Measured, *, quick: bool) -> list[Row]:
    """Ours in many runs, the daily rules and the streaming detectors in fewer: they are slow."""
    runs, rival_runs = (10, 3) if quick else (200, 30)
    found = []
    for line in LINES:
        value = _once(measured, line, runs, rival_runs)
        found.append(_row(line, value["ours"], {name: value[name] for name in _RIVALS}))
    return found


def _once(measured: Measured, line: Line, runs: int, rival_runs: int) -> dict[str, Any]:
    what = f"block lane, {line.words}"
    for row in measured.rows():
        if row["what"] == what:
            found: dict[str, Any] = row["value"]
            return found
    print(f"  {what}", file=sys.stderr, flush=True)
    value = _measure(line, runs, rival_runs, np.random.default_rng(list(what.encode())))
    measured.add({"what": what, "value": value})
    return value


def _measure(line: Line, runs: int, rival_runs: int, chance: np.random.Generator) -> dict[str, Any]:
    alarms: dict[str, list[int | None]] = {name: [] for name in _RIVALS}
    distances = []
    for run in range(runs):
        drawn = scores(line.world, line.burn_in + _DAYS, _PER_DAY, chance)
        distances.append(_distances(drawn, _validation(chance)))
        if run < rival_runs:
            past = drawn[: line.burn_in].reshape(-1, SIGNALS)
            for name, day in days_to_alarm(drawn[line.burn_in :], past).items():
                alarms[name].append(day)
    found = block_lane.run(np.stack(distances), block_lane.BlockRules(burn_in=line.burn_in))
    ours = [int(block) - 1 - line.burn_in if block else None for block in found.alarm]
    guarded = sum(
        any(block_lane.resembles_the_one_before(one[: line.burn_in, signal]) for signal in range(SIGNALS))
        for one in distances
    )
    return {
        "ours": _summary(ours),
        "guarded": guarded / runs,
        **{name: _summary(days) for name, days in alarms.items()},
    }


def _summary(days: Sequence[int | None]) -> dict[str, float]:
    """Days are counted from 1 at the end of the burn-in; one that never came counts as the ninety-first."""
    return {
        "chance": sum(day is not None for day in days) / len(days),
        "delay": float(np.median([_DAYS + 1 if day is None else day + 1 for day in days])),
    }


def _row(line: Line, ours: Mapping[str, float], others: Mapping[str, Mapping[str, float]]) -> Row:
    what = f"block lane, {line.words}"
    if line.world.shift or line.world.ramp:
        rivals = {"specified": line.delay, **{name: one["delay"] for name, one in others.items()}}
        met = None if line.delay is None else ours["delay"] <= line.delay * (1 + _DELAY_APART) + 2
        goal = "" if line.delay is None else f"≤ {line.delay:g} + 30 %"
        why = "" if met is not False else "slower than specified, by more than the noise of this many runs"
        return Row(f"{what}: until the alarm", "days", ours["delay"], rivals, goal, met, why)
    rivals = {"specified": line.chance, **{name: one["chance"] for name, one in others.items()}}
    # One alarm in a quarter is the whole budget, half of it the block lane's: 1 - exp(-1/2) of the quarters.
    most = 0.39 if line.chance is None else line.chance + _MOST_APART
    met = ours["chance"] <= most
    why = "" if met else "more than the lane's half of the budget, or than specified, allows"
    return Row(f"{what}: any alarm in a quarter", "share", ours["chance"], rivals, f"≤ {most:.2g}", met, why)


def _validation(chance: np.random.Generator) -> Floats:
    """The champion's reference: held-out images, before the world's days began."""
    return scores(World(day_sd=0.0), 1, _REFERENCE, chance)[0] - 0.1


def _distances(drawn: Floats, reference: Floats) -> Floats:
    """Shape (days, signals): Kolmogorov–Smirnov distance of each day's scores from the reference."""
    found = np.empty((len(drawn), SIGNALS))
    for signal in range(SIGNALS):
        ordered = np.sort(reference[:, signal])
        days = np.sort(drawn[:, :, signal], axis=1)
        below = np.searchsorted(ordered, days, side="right") / len(ordered)
        steps = np.arange(1, days.shape[1] + 1) / days.shape[1]
        found[:, signal] = np.maximum(steps - below, below - (steps - 1 / days.shape[1])).max(axis=1)
    return found
