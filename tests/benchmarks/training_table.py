"""From single measurements to the rows of `bench-training`, with what is met and what is not."""

from collections.abc import Sequence
from typing import Any

from tests.benchmarks.table import Figure, Row, write

OURS = "auto in a third"
_RIVALS = ("full", "fastai", "head")  # with the whole budget each
_ORDER = ("staged in a third", "auto", "staged", "champion", "full", "full in a third", "fastai", "head")
_FORGOTTEN_POINTS = 2.0
_MEASURES = {
    "new_accuracy": "accuracy on new data",
    "old_accuracy": "accuracy on old data",
    "new_macro_recall": "macro recall on new data",
    "old_macro_recall": "macro recall on old data",
}
# Which of them have a goal, by task: before a first model has seen new data, nobody promises anything about it.
_PROMISED = {"first": ("old_accuracy",), "retrain": ("new_accuracy", "old_accuracy")}
_TASKS = {"first": "first fine-tune", "retrain": "retrain"}

# Why a goal is not met, by the row's name: found by looking into the runs, so written by hand. Without one, figures.
_NO_TIME = "in a third of the seconds start-up, head and cutting leave an epoch or two for the whole network"
_FEW = "few test images, seeds apart by more than contenders, and nobody clearly above the champion"
_HEAD_UNBOUNDED = "start-up is not the job's to save, and the head takes what it needs, not a share"
REASONS: dict[str, str] = {
    "meter_digits, first fine-tune: accuracy on old data": _NO_TIME,
    "meter_digits, first fine-tune: cost": _HEAD_UNBOUNDED,
    "meter_digits, retrain: accuracy on new data": _NO_TIME + ", and displays have other glyphs than meters",
    "meter_digits, retrain: accuracy on old data": _NO_TIME,
    "meter_digits, retrain: cost": _HEAD_UNBOUNDED,
    "magnetic_tile, first fine-tune: accuracy on old data": _FEW,
    "magnetic_tile, first fine-tune: cost": _HEAD_UNBOUNDED,
    "magnetic_tile, retrain: accuracy on new data": _FEW,
    "magnetic_tile, retrain: accuracy on old data": _FEW,
    "magnetic_tile, retrain: cost": _HEAD_UNBOUNDED,
}

_COMMAND = "make bench-training ARGS='--data FOLDER --fastai'"
_NOTES = """
ours = strategy auto in a third of the CPU seconds that the rivals get; also with all of them (auto, staged).
full = all layers, AdamW 1e-3, cosine, light augmentation, best epoch by select; its images are decoded once.
head = logistic regression on frozen features, L2 by select. All train the same network from the same weights.
New heads of the rivals are drawn as nn.Linear does: timm's own draw, ten times as large, would cost them epochs.
retrain: from one champion for all (full's first model of the seed), on the same replay of old and new images.
CPU seconds: user and system of the whole process tree, one thread; imports (some 4–7 s each) and decoding included.
Accuracies and recalls in percent on test images that share no meter session, look or tile with the others.
Medians of the seeds, smallest–largest in parentheses; a seed is also another split.
meter_digits: 48 px, three groups of devices, then LCD displays; split by session and look.
magnetic_tile: 80 px, exposures 1–3, then 4; split by tile, since every tile was shot under all four.
""".strip().splitlines()


def write_table(measured: Sequence[dict[str, Any]], budget_cpu_s: float) -> None:
    """Write results/training.md and .json from all measurements with this budget."""
    chosen = [row for row in measured if row["budget_cpu_s"] == budget_cpu_s]
    by = sorted({row["told"]["by"] for row in chosen if row["contender"] == "fastai"})
    notes = [
        *_NOTES,
        f"Budget of the rivals: {budget_cpu_s:g} CPU seconds each.",
        f"The column fastai is its fine_tune, run by {' and '.join(by) or 'nobody yet'}.",
    ]
    write("training", "Training beside its rivals", _COMMAND, rows(chosen), notes)


def rows(measured: Sequence[dict[str, Any]]) -> list[Row]:
    """A row for each measure of each data set and task that has anything measured."""
    found = []
    pairs = dict.fromkeys((row["dataset"], row["task"]) for row in measured)
    for dataset, task in sorted(pairs):
        of_both = [row for row in measured if (row["dataset"], row["task"]) == (dataset, task)]
        name = f"{dataset}, {_TASKS[task]}"
        found += [_accuracy_row(name, measure, of_both, task) for measure in _MEASURES]
        found.append(_cost_row(name, of_both))
        if task == "retrain":
            found.append(_forgetting_row(name, of_both))
    return found


def _accuracy_row(name: str, measure: str, measured: Sequence[dict[str, Any]], task: str) -> Row:
    figures = _figures(measured, measure, 100)
    what = f"{name}: {_MEASURES[measure]}"
    if measure not in _PROMISED[task]:
        return _row(what, "%", figures, met=None, missing="")
    rivals = {rival: figures[rival].middle for rival in _RIVALS if rival in figures}
    best = max(rivals, key=rivals.__getitem__, default="")
    ours = figures.get(OURS)
    met = bool(ours and best and ours.middle >= rivals[best])
    missing = f"{rivals[best] - ours.middle:.1f} points less than {best}" if ours and best else "not measured yet"
    return _row(what, "%", figures, "≥ the best rival", met=met, missing=missing)


def _cost_row(name: str, measured: Sequence[dict[str, Any]]) -> Row:
    figures = _figures(measured, "cpu_s", 1)
    ours, full = figures.get(OURS), figures.get("full")
    met = bool(ours and full and ours.middle <= full.middle / 3)
    missing = f"{ours.middle / full.middle:.2f} of full's" if ours and full else "not measured yet"
    return _row(f"{name}: cost", "CPU-s", figures, "≤ 1/3 of full", met=met, missing=missing)


def _forgetting_row(name: str, measured: Sequence[dict[str, Any]]) -> Row:
    """Points of old accuracy lost against the champion of the same seed."""
    champions = {row["seed"]: row["old_accuracy"] for row in measured if row["contender"] == "champion"}
    lost: dict[str, list[float]] = {}
    for row in measured:
        if row["contender"] != "champion" and row["seed"] in champions:
            lost.setdefault(row["contender"], []).append(100 * (champions[row["seed"]] - row["old_accuracy"]))
    figures = {contender: Figure(tuple(values)) for contender, values in lost.items()}
    ours = figures.get(OURS)
    met = bool(ours and ours.middle <= _FORGOTTEN_POINTS)
    missing = f"{ours.middle:.1f} points lost" if ours else "not measured yet"
    return _row(
        f"{name}: forgotten of old data", "points", figures, f"≤ {_FORGOTTEN_POINTS:g}", met=met, missing=missing
    )


def _figures(measured: Sequence[dict[str, Any]], measure: str, factor: float) -> dict[str, Figure]:
    values: dict[str, list[float]] = {}
    for row in measured:
        if measure != "cpu_s" or row["contender"] != "champion":
            values.setdefault(row["contender"], []).append(factor * row[measure])
    return {contender: Figure(tuple(found)) for contender, found in values.items()}


def _row(what: str, unit: str, figures: dict[str, Figure], goal: str = "", *, met: bool | None, missing: str) -> Row:
    others = {name: figures[name] for name in (*_ORDER, *figures) if name in figures and name != OURS}
    reason = REASONS.get(what, missing) if met is False else ""
    return Row(what, unit, figures.get(OURS), others, goal, met, reason, ".1f")
