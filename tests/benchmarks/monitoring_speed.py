"""What a window costs: beside Evidently's presets, at a million predictions, and against the window's size."""

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np

from tests.benchmarks.monitoring_rows import Row, Section
from tests.benchmarks.results import Measured

ROOT = Path(__file__).parent.parent.parent
RESULTS = ROOT / "tests" / "benchmarks" / "results"

EMBEDDING = 512
WINDOWS = (1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000)
QUICK_WINDOWS = (1_000, 3_000, 10_000)
_LARGEST_SLOPE = 1.1
_BYTES_A_ROW = 2 * (4 * EMBEDDING + 500)
_TASKS = {"columns": (100_000, 1), "embedding": (10_000, EMBEDDING)}
_QUICK_TASKS = {"columns": (10_000, 1), "embedding": (1_000, 64)}
_REPEATS, _QUICK_REPEATS = 3, 1


def section(*, quick: bool) -> Section:
    """All of it, each measurement in a process of its own; what was measured before is not measured again."""
    kind = "speed-quick" if quick else "speed"
    measured = Measured(ROOT / "build" / "bench-monitoring" / f"{kind}.jsonl", ("task", "side", "rows", "repeat"))
    tasks, repeats = (_QUICK_TASKS, _QUICK_REPEATS) if quick else (_TASKS, _REPEATS)
    for repeat in range(repeats):
        for task, (rows, size) in tasks.items():
            for side in ("ours", "Evidently"):
                _measure_once(measured, {"task": task, "side": side, "rows": rows, "repeat": repeat}, size)
    for rows in QUICK_WINDOWS if quick else WINDOWS:
        _look_once(measured, {"task": "look", "side": "ours", "rows": rows, "repeat": 0})
    found = measured.rows()
    looks = sorted((row for row in found if row["task"] == "look" and "cpu_s" in row), key=lambda row: row["rows"])
    picture = (ROOT / "build" / "bench-monitoring" if quick else RESULTS) / "monitoring-speed.png"
    if len(looks) > 1:
        _draw(looks, picture)
    rows = [_beside(found, task, tasks[task]) for task in tasks]
    return Section("Speed and memory", _words(), (*rows, *_of_looks(looks, found)))


def slope(sizes: list[float], costs: list[float]) -> float:
    """Of a straight line through the logarithms of both, by least squares."""
    return float(np.polyfit(np.log(sizes), np.log(costs), 1)[0])


def _words() -> tuple[str, ...]:
    return (
        (
            "CPU-seconds of all threads, median of the repeats, ours and Evidently's in turn, each in its own process; "
            "data are made and libraries imported before the clock runs. Ours is `drift_report`; Evidently's is "
            "`DataDriftPreset()` on the same columns, and `EmbeddingsDrift` with its defaults, which draws a t-SNE "
            "each time. Both sides have as many reference rows as current ones."
        ),
        (
            "A look reads a real log (segments of 2,000 rows, four spools), counts each prediction as evidence, "
            "closes the window, summarises it and plans labels. Memory is the most that the process has of its own, "
            "libraries included, which are some 130 MB before the look begins."
        ),
    )


def _beside(found: list[dict[str, Any]], task: str, shape: tuple[int, int]) -> Row:
    rows, size = shape
    cost = {}
    for side in ("ours", "Evidently"):
        costs = [row["cpu_s"] for row in found if (row["task"], row["side"], row["rows"]) == (task, side, rows)]
        cost[side] = statistics.median(costs)
    what = f"{rows:,} × 20 columns" if task == "columns" else f"{rows:,} × {size} embeddings"
    goal = "cheaper than Evidently"
    return Row(
        what, "CPU-s", cost["ours"], {"Evidently": cost["Evidently"]}, goal, met=cost["ours"] < cost["Evidently"]
    )


def _of_looks(looks: list[dict[str, Any]], found: list[dict[str, Any]]) -> list[Row]:
    rows = []
    for look in looks:
        what = f"one look that closes a window of {look['rows']:,} × {EMBEDDING}"
        rows += [Row(what, "CPU-s", look["cpu_s"]), Row(what, "MB of memory at most", look["seen_mb"])]
    for skipped in (row for row in found if row["task"] == "look" and "skipped" in row):
        rows.append(Row(f"a window of {skipped['rows']:,} × {EMBEDDING}", "CPU-s", None, why=skipped["skipped"]))
    if len(looks) > 1:
        sizes, costs = [float(row["rows"]) for row in looks], [row["cpu_s"] for row in looks]
        whole, last = slope(sizes, costs), slope(sizes[-3:], costs[-3:])
        for what, value in (("all windows", whole), ("the three largest windows", last)):
            why = "" if value <= _LARGEST_SLOPE else "the cost grows faster than the window"
            rows.append(
                Row(
                    f"slope of cost against window size, log-log, {what}",
                    "",
                    value,
                    goal=f"≤ {_LARGEST_SLOPE}",
                    met=value <= _LARGEST_SLOPE,
                    why=why,
                )
            )
    return rows


def _measure_once(measured: Measured, key: dict[str, Any], size: int) -> None:
    if key in measured:
        return
    print(f"{key['task']}, {key['side']}, {key['rows']:,} rows", file=sys.stderr)
    command = ["tests.benchmarks.monitoring_speed_rivals", key["task"], key["side"], key["rows"], size]
    measured.add({**key, **json.loads(_child(command))})


def _look_once(measured: Measured, key: dict[str, Any]) -> None:
    if key in measured:
        return
    rows = key["rows"]
    print(f"a look at {rows:,} predictions", file=sys.stderr)
    folder = Path(tempfile.mkdtemp(prefix="kedge-speed-"))
    try:
        free, needed = shutil.disk_usage(folder).free, rows * _BYTES_A_ROW
        if free < needed:
            measured.add({**key, "skipped": f"{needed / 1e9:.0f} GB of disk are needed, {free / 1e9:.0f} are free"})
            return
        _child(["tests.benchmarks.monitoring_speed_log", "write", folder, rows, EMBEDDING])
        measured.add({**key, **json.loads(_child(["tests.benchmarks.monitoring_speed_log", "look", folder, rows]))})
    finally:
        shutil.rmtree(folder)


def _child(command: list[Any]) -> str:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, "-m", *map(str, command)],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{command[0]} failed:\n{done.stderr[-2_000:]}")
    return (done.stdout.splitlines() or [""])[-1]


def _draw(looks: list[dict[str, Any]], path: Path) -> None:
    from matplotlib.figure import Figure

    sizes, costs = np.array([row["rows"] for row in looks]), np.array([row["cpu_s"] for row in looks])
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    axes.loglog(sizes, costs, "o-", label=f"one look (slope {slope(sizes.tolist(), costs.tolist()):.2f})")
    axes.loglog(sizes, costs[-1] * sizes / sizes[-1], "--", color="grey", label="proportional to the window")
    axes.set_xlabel(f"predictions in the window, {EMBEDDING} numbers an embedding")
    axes.set_ylabel("CPU-seconds")
    axes.legend()
    path.parent.mkdir(parents=True, exist_ok=True)
    figure.savefig(path, dpi=120, metadata={"Software": None})


if __name__ == "__main__":
    made = section(quick="--quick" in sys.argv)
    for one in made.rows:
        others = ", ".join(f"{name} {value:.2f}" for name, value in one.others.items() if value is not None)
        figure = "-" if one.ours is None else f"{one.ours:.2f}"
        print(f"{one.what} | {one.unit} | {figure} | {others} | {one.goal} | {one.met} | {one.why}")
