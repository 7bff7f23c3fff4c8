"""Part `evidence`: the tables of the specification with our code, and other rules on the same streams."""

import sys
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks import monitoring_daily as daily
from tests.benchmarks import monitoring_gross as gross
from tests.benchmarks.monitoring_rows import Row, Section
from tests.benchmarks.monitoring_rules import ON_LABELS, labels_to_alarm
from tests.benchmarks.monitoring_streams import bits
from tests.benchmarks.results import Measured

_WORK = Path(__file__).parents[2] / "build" / "bench-monitoring"
_SPECIFIED = "specified"
# The specification says so itself of its own figures: a hundredth or two of a probability, a tenth of a delay.
_MOST_APART, _DELAY_APART = 0.05, 0.20
_FALSE_ALARMS = {(0.2, 0.20): 0.0, (0.4, 0.20): 0.0, (0.6, 0.20): 0.07, (0.4, 0.10): 0.015, (0.6, 0.10): 0.44,
                 (0.4, 0.05): 0.12, (0.6, 0.05): 0.84}  # fmt: skip
_CLEAN_LABELS, _WORSE_LABELS = 900, 3_000


def section(*, quick: bool) -> Section:
    """Every figure once; what was measured before is not measured again."""
    measured = Measured(_WORK / ("evidence-quick.jsonl" if quick else "evidence.jsonl"), ("what",))
    runs = 20 if quick else 300
    rows = [*_gross_rows(measured, runs), *_harm_rows(measured, runs), *_rival_rows(measured, 10 if quick else 60)]
    rows += daily.rows(measured, quick=quick)
    return Section(
        "Evidence: delays and false alarms in a quarter",
        _told(runs, 10 if quick else 60),
        tuple(rows),
    )


def _told(runs: int, rival_runs: int) -> tuple[str, ...]:
    streams = f"Simulated streams, {runs} a line (rivals on labels: {rival_runs}); a delay is a median. "
    alarms = "A false alarm is any alarm in ninety days without a change. "
    return (
        streams + "*Specified* is the figure that the design was simulated with, by other code.",
        alarms + "Evidently's rule is its default above 1,000 reference rows; it and the fixed p-values look once a "
        "day, with the burn-in days as their reference.",
    )


def _gross_rows(measured: Measured, runs: int) -> list[Row]:
    rows = []
    for (traffic, share), specified in gross.GROSS_DELAYS.items():
        what = f"gross lane, {traffic}, {share:.0%} of the pictures atypical: until the alarm"
        value = _once(
            measured, what, lambda chance, t=traffic, s=share: gross.gross_delays(gross.TRAFFIC[t], s, runs, chance)
        )
        rows.append(_delay(what, "predictions", value, specified))
    for (day_sd, tolerance), specified in _FALSE_ALARMS.items():
        what = f"gross lane, day effect {day_sd:g}, tolerated share {tolerance:g}: any alarm in a quarter"
        value = _once(
            measured,
            what,
            lambda chance, d=day_sd, p=tolerance: gross.gross_false_alarms(d, p, max(10, runs // 3), chance),
        )
        rows.append(_chance(what, value, specified))
    return rows


def _harm_rows(measured: Measured, runs: int) -> list[Row]:
    rows = []
    for (labels, drop), specified in gross.HARM_DELAYS.items():
        what = f"labelled harm, {labels:,} labels a quarter, {drop:.0%} worse: until the alarm"
        value = _once(
            measured, what, lambda chance, n=labels, d=drop: _known(gross.harm_delays(n, d, runs, chance), 4_000)
        )
        rows.append(_delay(what, "labels", value, specified))
    for labels, specified in ((900, 0.013), (9_000, 0.0)):
        what = f"labelled harm, {labels:,} labels a quarter, no worse: any alarm in a quarter"
        value = _once(measured, what, lambda chance, n=labels: gross.harm_false_alarms(n, runs, chance))
        rows.append(_chance(what, value, specified))
    return rows


def _rival_rows(measured: Measured, runs: int) -> list[Row]:
    """A quarter of 900 good labels, then worse ones; a delay counts only where nothing had alarmed before."""
    rows = []
    for drop in (0.05, 0.10, 0.20):
        quarter = f"a good quarter of {_CLEAN_LABELS} labels"
        what = f"{quarter}, then {drop:.0%} worse"
        found = _once(measured, what, lambda chance, d=drop: _label_streams(d, runs, chance))
        if drop == 0.05:
            others = {name: found[name]["false"] for name in ON_LABELS}
            rows.append(Row(f"{what.partition(',')[0]}: any alarm in it", "share", found["ours"]["false"], others))
        others = {name: found[name]["delay"] for name in ON_LABELS}
        rows.append(Row(f"{what}: until the alarm", "labels", found["ours"]["delay"], others))
        others = {name: found[name]["missed"] for name in ON_LABELS}
        rows.append(Row(f"{what}: never within {_WORSE_LABELS:,}", "share", found["ours"]["missed"], others))
    return rows


def _label_streams(drop: float, runs: int, chance: np.random.Generator) -> dict[str, dict[str, float | None]]:
    good, places = gross.CHAMPION_ERRORS / gross.CHAMPION_IMAGES, []
    for _ in range(runs):
        stream = np.concatenate([bits(good, _CLEAN_LABELS, chance), bits(good + drop, _WORSE_LABELS, chance)])
        places.append({"ours": gross.harm_alarm_at(_CLEAN_LABELS, stream), **labels_to_alarm(stream)})
    found = {}
    for name in ("ours", *ON_LABELS):
        alarms = [one[name] for one in places]
        late = [place - _CLEAN_LABELS for place in alarms if place is not None and place > _CLEAN_LABELS]
        false = sum(place is not None and place <= _CLEAN_LABELS for place in alarms)
        silent = sum(place is None for place in alarms)
        found[name] = {
            "false": false / runs,
            "delay": float(np.median(late)) if late else None,
            "missed": silent / (runs - false) if false < runs else None,
        }
    return found


def _once(measured: Measured, what: str, measure: Any) -> Any:
    """The figure of `what`, measured unless an earlier run has it; every line has its own random numbers."""
    for row in measured.rows():
        if row["what"] == what:
            return row["value"]
    print(f"  {what}", file=sys.stderr, flush=True)
    value = measure(np.random.default_rng(list(what.encode())))
    value = float(np.median(value)) if isinstance(value, list) else value
    measured.add({"what": what, "value": value})
    return value


def _known(delays: list[int | None], most: int) -> list[int]:
    """One that never came counts as the longest, so that a median stays honest."""
    return [most if delay is None else delay for delay in delays]


def _delay(what: str, unit: str, value: float, specified: float) -> Row:
    met = value <= specified * (1 + _DELAY_APART) + 2
    why = "" if met else f"slower than the specified {specified:g} by more than a fifth"
    return Row(what, unit, value, {_SPECIFIED: specified}, f"≤ {specified:g} + a fifth", met, why)


def _chance(what: str, value: float, specified: float) -> Row:
    met = value <= specified + _MOST_APART
    why = "" if met else f"more than the specified {specified:g}, by more than the noise of this many runs"
    return Row(what, "share of quarters", value, {_SPECIFIED: specified}, f"≤ {specified:g} + 0.05", met, why)


if __name__ == "__main__":
    from tests.benchmarks.parts import markdown

    print(markdown(section(quick="--quick" in sys.argv)))
