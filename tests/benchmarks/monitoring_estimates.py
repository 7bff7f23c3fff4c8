"""Accuracy guessed without labels, under eleven corruptions at five severities, beside simpler guesses."""

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from monitoring.estimates.estimate import Estimate, estimate
from monitoring.image_stats import sample_of, statistics_of_all
from monitoring.reference.fit import fit
from monitoring.reference.profile import ReferenceProfile
from monitoring.signals import atypical
from monitoring.watching.batch import Batch
from tests.benchmarks.datasets import unpacked
from tests.benchmarks.monitoring_corruptions import SEVERITIES
from tests.benchmarks.monitoring_estimates_worlds import Scored, digits_world, meters_world
from tests.benchmarks.monitoring_rows import Row, Section
from tests.benchmarks.results import Measured

_WORK = Path("build/bench-monitoring")
_DIGITS, _METERS = "digits", "meter_digits"
_SEEDS = {_DIGITS: 40, _METERS: 6}
_QUICK_SEEDS = {_DIGITS: 2, _METERS: 0}
# Up to this share of atypical images the gross lane keeps still until burn-in ends.
_TOLERATED = 0.2
# Name of a method in a measured row to its name in the table.
_OTHERS = {
    "none": "no estimate",
    "average_confidence": "average confidence",
    "difference_of_confidences": "DoC",
    "confidence_based": "CBPE-like alone",
    "atc_confidence": "ATC-MC alone",
    "atc_entropy": "ATC-NE alone",
}
_SIMPLER = ("none", "average_confidence", "difference_of_confidences")

_WORDS = (
    """
    A classifier of digits: 40 trainings of a perceptron on scanned digits of 8 x 8 pixels; 6 of a small convolutional
    network on photographed meter digits, split by look. Temperature fitted on held-out images; then 11 corruptions at
    5 severities. Mean absolute error of the guessed accuracy, in points, by the way the product goes (profile, batch,
    `estimate`).
    """,
    """
    Valid: the two methods agree within 5 points, and at most 20 % of the pictures are atypical in any channel, which is
    what the gross lane tolerates.
    """,
    """
    From the literature, on CIFAR-10-C: ATC-NE 3.87, DoC 11.08, average confidence 11.91 (Garg et al. 2022).
    """,
)

Figures = dict[str, Any]


def section(*, quick: bool) -> Section:
    """Measure what is not measured yet, and put it together."""
    measured = Measured(_WORK / "estimates.jsonl", ("world", "seed", "corruption", "severity"))
    words = [" ".join(text.split()) for text in _WORDS]
    rows: list[Row] = []
    for world, seeds in (_QUICK_SEEDS if quick else _SEEDS).items():
        folder = _meters() if world == _METERS else None
        if world == _METERS and folder is None:
            words.append("meter_digits left out: KEDGE_BENCH_DATA does not say where it lies.")
            continue
        make = _world_of(folder)
        for seed in range(seeds):
            if {"world": world, "seed": seed, "corruption": "done", "severity": 0} not in measured:
                print(f"  {world}, seed {seed}", file=sys.stderr, flush=True)
                for row in _measure(world, seed, make(seed)):
                    measured.add(row)
                measured.add({"world": world, "seed": seed, "corruption": "done", "severity": 0})
        mine = [row for row in measured.rows() if row["world"] == world and row["corruption"] != "done"]
        mine = [row for row in mine if row["seed"] < seeds]
        if mine:
            rows += _table(world, mine)
    return Section("Accuracy without labels", tuple(words), tuple(rows))


def _world_of(folder: Path | None) -> Callable[[int], Iterator[Scored]]:
    if folder is None:
        return digits_world
    return lambda seed: meters_world(folder, seed)


def _meters() -> Path | None:
    named = os.environ.get("KEDGE_BENCH_DATA")
    if not named or not (Path(named) / _METERS / "images.zip").is_file():
        return None
    return unpacked(Path(named), _METERS, _WORK)


def _measure(world: str, seed: int, scored: Iterator[Scored]) -> Iterator[Figures]:
    profile = _profile(next(scored))
    for one in scored:
        batch = _batch(one)
        shares = {name: float(np.nanmean(each)) for name, each in atypical(profile, batch).items() if len(each)}
        worst = max((share for share in shares.values() if np.isfinite(share)), default=0.0)
        found = estimate(profile, batch, gross_quiet=worst <= _TOLERATED)
        yield {
            "world": world, "seed": seed, "corruption": one.corruption, "severity": one.severity,
            "true": float((one.probabilities.argmax(axis=1) == one.truth).mean()), "atypical": worst, **_told(found),
        }  # fmt: skip


def _told(found: Estimate) -> Figures:
    methods = {} if found.methods is None else vars(found.methods)
    return {
        "none": found.reference_accuracy,
        "ours": found.accuracy.value,
        "low": found.accuracy.low,
        "high": found.accuracy.high,
        "valid": found.valid,
        **methods,
    }


def _profile(one: Scored) -> ReferenceProfile:
    return fit(
        _batch(one),
        [str(label) for label in one.truth],
        version=1,
        classes=[str(label) for label in range(10)],
        rounds=1,
        judged_errors={},
        columns={},
    )


def _batch(one: Scored) -> Batch:
    pictures = np.repeat(np.rint(255 * one.pictures).astype(np.uint8)[..., None], 3, axis=3)
    return Batch(
        statistics=statistics_of_all([sample_of(picture) for picture in pictures]).astype(np.float64),
        probabilities=one.probabilities,
        embedding=one.embedding,
        labels=tuple(str(label) for label in one.probabilities.argmax(axis=1)),
        metadata=({},) * len(one.truth),
    )


def _table(world: str, measured: Sequence[Figures]) -> Iterator[Row]:
    shifted = [row for row in measured if row["corruption"]]
    yield _errors(f"{world}: all {len(shifted)} shifted windows", shifted, goal=True)
    valid = [row for row in shifted if row["valid"]]
    yield _errors(f"{world}: the {len(valid)} windows with a valid estimate", valid, goal=True)
    for severity in SEVERITIES:
        part = [row for row in shifted if row["severity"] == severity]
        yield _errors(f"{world}: severity {severity}", part)
    same = [row for row in measured if not row["corruption"]]
    yield _errors(f"{world}: no shift", same)
    for what, part in (("no shift", same), ("valid, shifted", valid), ("all shifted", shifted)):
        inside = np.mean([row["low"] <= row["true"] <= row["high"] for row in part]) if part else np.nan
        half = 50 * np.mean([row["high"] - row["low"] for row in part]) if part else np.nan
        name = f"{world}: 95 % interval covers the truth, {what} (half-width {half:.1f} points)"
        yield Row(name, "share", round(float(inside), 3))
    mild = [row for row in shifted if row["true"] >= row["none"] - 0.05]
    for what, part in (("all shifted", shifted), ("of those within 5 points of the reference's accuracy", mild)):
        told = float(np.mean([row["valid"] for row in part])) if part else np.nan
        yield Row(f"{world}: share of windows whose estimate is valid, {what}", "share", round(told, 3))


def _errors(what: str, rows: Sequence[Figures], *, goal: bool = False) -> Row:
    def error(name: str) -> float | None:
        return round(100 * float(np.mean([abs(row[name] - row["true"]) for row in rows])), 2) if rows else None

    ours, others = error("ours"), {told: error(name) for name, told in _OTHERS.items()}
    if not goal or ours is None:
        return Row(what, "points", ours, others)
    rivals = {_OTHERS[name]: others[_OTHERS[name]] for name in _SIMPLER}
    ahead = [name for name, value in rivals.items() if value is not None and value <= ours]
    why = f"{', '.join(ahead)} is no worse here" if ahead else ""
    return Row(what, "points", ours, others, "below no estimate, DoC and average confidence", not ahead, why)


if __name__ == "__main__":
    from tests.benchmarks.parts import markdown

    print(markdown(section(quick="--quick" in sys.argv)))
