"""`python -m tests.benchmarks.monitoring_bias [--quick]`: false accusations of equal groups, power, and the cost."""

import argparse
import json
import subprocess
import sys
import time
import venv
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from monitoring.bias import DIFFERS, bias_report
from monitoring.quality.labelled import LabelledAnswers
from monitoring.subgroups.bootstrap import RESAMPLES, resampled
from monitoring.subgroups.columns import divided
from tests.benchmarks.monitoring_rows import Row, Section
from tests.benchmarks.results import Measured

_BUILD = Path("build/bench-monitoring/bias")
_MIXED = (30, 30, 50, 50, *[100] * 6, *[200] * 6, *[300] * 4, 500, 500, 1000, 1000)
_ACCURACY, _POSITIVE = 0.9, 0.25  # so that 30 % are selected
_GAPS, _FOUR_FIFTHS, _LEVEL = (0.05, 0.10), 0.8, 0.05
_FAIRLEARN = "fairlearn==0.15.0"
_FAIRLEARN_RESAMPLES = 10
_NULLS = {
    "24 groups of 30 to 1,000": _MIXED,
    "12 groups of 500": (500,) * 12,
    "12 groups of 100": (100,) * 12,
    "24 groups of 100": (100,) * 24,
}
_POWERS = {
    "every class 10 points lower in one group of 300": (0.25, 0.10, 0.10),
    "one of two even classes 10 points lower in one group of 300": (0.5, 0.10, 0.0),
}


@dataclass(frozen=True)
class _World:
    """Groups of these sizes; `gaps` is by how much the first group's recall is lower: positives, others."""

    sizes: tuple[int, ...]
    positive: float = _POSITIVE
    gaps: tuple[float, float] = (0.0, 0.0)

    def draw(self, chance: np.random.Generator) -> tuple[NDArray[np.intp], NDArray[np.bool_], NDArray[np.bool_]]:
        """Group, truth and answer of every row."""
        part = np.repeat(np.arange(len(self.sizes)), self.sizes)
        truth = chance.random(len(part)) < self.positive
        lower = np.where(truth, *self.gaps) * (part == 0)
        right = chance.random(len(part)) < _ACCURACY - lower
        return part, truth, truth == right


def section(quick: bool) -> Section:  # noqa: FBT001 - the benchmark's parts share this signature
    """What the audit says of equal groups and of one that is not, and what its intervals cost."""
    measured = Measured(_BUILD.with_suffix(".jsonl"), ("what", "run"))
    rows = [*_null_rows(measured, quick=quick), *_power_rows(measured, quick=quick), *_cost_rows(measured, quick=quick)]
    words = (
        "Binary answers, accuracy 0.90, selection rate 0.30, the same in every group.",
        "False: any group is called different. The whole audit decides (every rate and class, Holm).",
        "Gap: largest minus smallest accuracy. Four fifths: smallest selection rate over the largest.",
        "z tests: of each group's accuracy against the rest's.",
        "Groups below 200 images are undecided by rule: where all are, ours accuses nobody by construction.",
    )
    return Section("Bias between subgroups", words, tuple(rows))


def _null_rows(measured: Measured, *, quick: bool) -> list[Row]:
    rows = []
    for name, sizes in _NULLS.items():
        runs = 40 if quick else 1000
        judged = max(sizes) >= 200
        found = _repeated(measured, f"null: {name}", _World(sizes), runs if judged else runs // 20)
        others = _rivals(_World(sizes), 400 if quick else 4000)
        # Two standard errors of the share itself lie above the level, too, where it is met exactly.
        allowed = _LEVEL + 2 * (_LEVEL * (1 - _LEVEL) / found["runs"]) ** 0.5
        rows.append(
            Row(
                f"{name}, no difference, {found['runs']} audits",
                "false accusations",
                found["share"],
                others,
                goal=f"≤ {_LEVEL} (two standard errors: {allowed:.3f})",
                met=found["share"] <= allowed,
            )
        )
    return rows


def _power_rows(measured: Measured, *, quick: bool) -> list[Row]:
    rows = []
    for name, (positive, *gaps) in _POWERS.items():
        world = _World((300, *[200] * 23), positive, (gaps[0], gaps[1]))
        found = _repeated(measured, f"power: {name}", world, 20 if quick else 500)
        asked = gaps[1] > 0
        rows.append(
            Row(
                f"{name} of 24 (the others 200), {found['runs']} audits",
                "found",
                found["share"],
                goal="≥ 0.80" if asked else "",
                met=found["share"] >= 0.8 if asked else None,
            )
        )
    return rows


def _repeated(measured: Measured, what: str, world: _World, runs: int) -> dict[str, float]:
    """The share of audits that call the first group (where it is treated worse) or any group (else) different."""
    done = {row["run"]: row["hit"] for row in measured.rows() if row["what"] == what}
    for run in range(runs):
        if run in done:
            continue
        report = bias_report(
            _answers(world, np.random.default_rng((run, 5))), ("group",), title=what, at=datetime.now(UTC), resamples=2
        )
        different = {group.value for group in report.groups if group.verdict == DIFFERS}
        hit = "0" in different if any(world.gaps) else bool(different)
        measured.add({"what": what, "run": run, "hit": hit})
        done[run] = hit
        if run % 50 == 0:
            print(f"{what}: {run} of {runs}", file=sys.stderr, flush=True)
    return {"runs": runs, "share": float(np.mean([done[run] for run in range(runs)]))}


def _answers(world: _World, chance: np.random.Generator) -> LabelledAnswers:
    part, truth, answer = world.draw(chance)
    names = np.array(["no", "yes"])
    return LabelledAnswers(
        tuple(names[truth.astype(int)].tolist()),
        tuple(names[answer.astype(int)].tolist()),
        chance.beta(9, 1, len(part)),
        tuple({"group": str(number)} for number in part),
    )


def _rivals(world: _World, runs: int) -> dict[str, float | None]:
    chance = np.random.default_rng(11)
    sizes = np.array(world.sizes)
    right = chance.binomial(sizes, _ACCURACY, (runs, len(sizes)))
    share = _POSITIVE * _ACCURACY + (1 - _POSITIVE) * (1 - _ACCURACY)
    selected = chance.binomial(sizes, share, (runs, len(sizes))) / sizes
    accuracy = right / sizes
    gap = accuracy.max(axis=1) - accuracy.min(axis=1)
    rest, others = right.sum(axis=1, keepdims=True) - right, sizes.sum() - sizes
    pooled = right.sum(axis=1, keepdims=True) / sizes.sum()
    error = np.sqrt(np.maximum(pooled * (1 - pooled), 1e-12) * (1 / sizes + 1 / others))
    height = np.abs(accuracy - rest / others) / error
    limits = {"any z test p < 0.05": _LEVEL, "z tests, Bonferroni": _LEVEL / len(sizes)}
    return {
        **{f"gap > {limit:.2f}": float((gap > limit).mean()) for limit in _GAPS},
        "four fifths": float((selected.min(axis=1) < _FOUR_FIFTHS * selected.max(axis=1)).mean()),
        **{
            name: float((height > NormalDist().inv_cdf(1 - level / 2)).any(axis=1).mean())
            for name, level in limits.items()
        },
    }


def _cost_rows(measured: Measured, *, quick: bool) -> list[Row]:
    rows = []
    for classes in (2, 10):
        answers = _many(classes)
        division = divided(answers, ("group",)).divisions[0]
        resampled(answers, division, 2)  # so that what is computed once is computed
        seconds = _cpu_s(lambda: resampled(answers, division))  # noqa: B023 - called at once
        whole = _cpu_s(lambda: bias_report(answers, ("group",), title="", at=datetime.now(UTC)))  # noqa: B023
        rival = _fairlearn(measured, quick=quick) if classes == 2 else None
        beside = {f"fairlearn 0.15.0, {_FAIRLEARN_RESAMPLES} resamples": rival}
        what = f"24 groups, {classes} classes, 20,000 rows, {RESAMPLES:,} resamples"
        rows += [
            Row(f"{what}: drawing them", "CPU-s", seconds, beside, goal="< 1", met=seconds < 1,
                why="" if rival is not None or classes > 2 else "fairlearn could not be installed here: not measured"),
            Row(f"{what}: the whole report", "CPU-s", whole),
        ]  # fmt: skip
    return rows


def _many(classes: int) -> LabelledAnswers:
    chance = np.random.default_rng(3)
    count = 20_000
    truth = chance.integers(classes, size=count)
    wrong = (truth + chance.integers(1, classes, size=count)) % classes
    answer = np.where(chance.random(count) < _ACCURACY, truth, wrong)
    metadata: tuple[Mapping[str, str], ...] = tuple({"group": str(place % 24)} for place in range(count))
    return LabelledAnswers(tuple(map(str, truth)), tuple(map(str, answer)), chance.random(count), metadata)


def _cpu_s(work: object) -> float:
    assert callable(work)
    found = []
    for _ in range(3):
        began_s = time.process_time()
        work()
        found.append(time.process_time() - began_s)
    return round(min(found), 3)


def _fairlearn(measured: Measured, *, quick: bool) -> float | None:
    """CPU seconds of fairlearn's bootstrap in an environment of its own; None where it cannot be had."""
    known = next((row["cpu_s"] for row in measured.rows() if row["what"] == "fairlearn"), None)
    if known is not None or quick:
        return known
    folder = _BUILD.parent / "fairlearn"
    try:
        if not (folder / "bin/python").is_file():
            venv.create(folder, with_pip=True, system_site_packages=False)
            print("installing fairlearn for the comparison …", file=sys.stderr, flush=True)
            wanted = [_FAIRLEARN, "pandas<3.1"]
            subprocess.run([folder / "bin/python", "-m", "pip", "install", "-q", *wanted], check=True, timeout=900)
        script = Path(__file__).with_name("fairlearn_rival.py")
        told = subprocess.run(
            [folder / "bin/python", script, str(_FAIRLEARN_RESAMPLES)],
            check=True, timeout=900, capture_output=True, text=True,
        )  # fmt: skip
    except (subprocess.SubprocessError, OSError) as error:
        print(f"fairlearn is left out: {error}", file=sys.stderr)
        return None
    seconds = float(json.loads(told.stdout.splitlines()[-1])["cpu_s"])
    measured.add({"what": "fairlearn", "run": 0, "cpu_s": seconds})
    return seconds


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer runs; figures are coarse")
    found = section(parser.parse_args().quick)
    print(f"# {found.title}", *found.words, sep="\n")
    for row in found.rows:
        verdict = "" if row.met is None else "  met" if row.met else "  NOT met"
        beside = ", ".join(
            f"{name} {value if value is not None else 'not measured'}" for name, value in row.others.items()
        )
        print(f"{row.what}: {row.ours} {row.unit} {row.goal}{verdict} | {beside} {row.why}")


if __name__ == "__main__":
    main()
