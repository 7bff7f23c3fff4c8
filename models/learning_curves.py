"""What training told of itself, epoch by epoch, and its picture."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator, NullFormatter

from models.plot_style import BLUE, FAINT, GREEN, LINE, ORANGE, PAGE_INCHES, drawing, shortened

_FEW_EPOCHS = 40


@dataclass(frozen=True)
class Epoch:
    """
    One line of progress.jsonl.

    Attributes:
        stage: from 0; `epoch` counts from 1 within it.
        loss: mean over the training images; None where the stage tells none.
        select_loss: mean over the selection images; None where it is not told.
        learning_rate: of the head; None or 0 where nothing was learnt by steps.
    """

    stage: int
    stage_name: str
    epoch: int
    loss: float | None
    select_loss: float | None
    select_macro_recall: float | None
    select_accuracy: float | None
    learning_rate: float | None


def read_epochs(run_dir: Path) -> tuple[Epoch, ...]:
    """The epochs of a run in their order; of one that a resumption told again, the last telling."""
    path = run_dir / "progress.jsonl"
    found: dict[tuple[int, int], Epoch] = {}
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        told = _told(line)
        if told is not None:
            found[told.stage, told.epoch] = told
    return tuple(found[key] for key in sorted(found))


def draw_curves(epochs: Sequence[Epoch], metric: str, path: Path) -> None:
    """Loss, scores on *select* and learning rate, one below the other; `metric`: the one that decides."""
    with drawing((PAGE_INCHES, 6.4), path) as figure:
        loss, score, rate = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 1.6))
        mark = "o" if len(epochs) <= _FEW_EPOCHS else ""
        _line(loss, epochs, [one.loss for one in epochs], BLUE, mark or "-", "training images")
        _line(loss, epochs, [one.select_loss for one in epochs], ORANGE, "s" if mark else "--", "selection images")
        loss.set_title("Loss (mean cross-entropy, nats)", pad=30)
        _line(score, epochs, [one.select_macro_recall for one in epochs], ORANGE, "s" if mark else "-", "macro recall")
        _line(score, epochs, [one.select_accuracy for one in epochs], GREEN, "^" if mark else "--", "accuracy")
        score.set_title(f"Scores on selection images (stopping and choosing go by {metric.replace('_', ' ')})")
        score.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
        _line(rate, epochs, [one.learning_rate or None for one in epochs], FAINT, "." if mark else "-", "")
        rate.set_title("Learning rate of the head")
        if any(one.learning_rate for one in epochs):
            rate.set_yscale("log")
            rate.yaxis.set_major_formatter(lambda value, _: f"{value:.0e}".replace("e-0", "e-"))
            rate.yaxis.set_minor_formatter(NullFormatter())
        rate.set_xlabel("epoch, counted over all stages")
        rate.xaxis.set_major_locator(MaxNLocator(integer=True))
        for axes in (loss, score):
            if axes.get_legend_handles_labels()[0]:
                axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        _stages(epochs, (loss, score, rate))


def _line(
    axes: Axes, epochs: Sequence[Epoch], values: Sequence[float | None], colour: str, mark: str, name: str
) -> None:
    known = [(place, value) for place, value in enumerate(values, start=1) if value is not None]
    if not known:
        return
    style, marker = (mark, "") if mark in {"-", "--"} else ("-", mark)
    # The line is broken where a stage begins: the best weights so far are restored there.
    for stage in sorted({one.stage for one in epochs}):
        part = [(place, value) for place, value in known if epochs[place - 1].stage == stage]
        if part:
            axes.plot(*zip(*part, strict=True), style, marker=marker, color=colour, label=name)
            name = ""


def _stages(epochs: Sequence[Epoch], panels: Sequence[Axes]) -> None:
    stages = sorted({one.stage for one in epochs})
    for order, stage in enumerate(stages):
        places = [place for place, one in enumerate(epochs, start=1) if one.stage == stage]
        start = places[0] - 0.5
        for axes in panels:
            axes.axvline(start, color=LINE, linewidth=1.4, zorder=0.5)
        name = f"{stage + 1} · {shortened(epochs[places[0] - 1].stage_name, max(4, 70 // len(stages)))}"
        # Names of short neighbours would overlap on one line.
        lift = 1.02 if order % 2 == 0 else 1.10
        panels[0].text(
            start, lift, name, transform=panels[0].get_xaxis_transform(), fontsize=8.5, color=FAINT, ha="left"
        )
    if epochs:
        panels[-1].set_xlim(0.5, len(epochs) + 0.5)


def _told(line: str) -> Epoch | None:
    try:
        told = json.loads(line)
        stage, epoch = int(told["stage"]), int(told["epoch"])
    except (ValueError, KeyError, TypeError):
        # The last line of a job that was killed may be torn.
        return None
    return Epoch(
        stage=stage,
        stage_name=str(told.get("stage_name", "")),
        epoch=epoch,
        **{
            name: _number(told, name)
            for name in ("loss", "select_loss", "select_macro_recall", "select_accuracy", "learning_rate")
        },
    )


def _number(told: Mapping[str, object], name: str) -> float | None:
    value = told.get(name)
    return float(value) if isinstance(value, int | float) else None
