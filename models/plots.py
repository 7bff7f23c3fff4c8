"""The pictures of a judged model: confusion, classes, subgroups, how honest confidence is, and the worst mistakes."""

import io
from collections.abc import Sequence
from math import ceil
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap
from matplotlib.patches import Rectangle
from PIL import Image

from models.calibration import ConfidenceBin
from models.mistakes import Mistake
from models.plot_style import (
    BLUE,
    FAINT,
    INK,
    LINE,
    ORANGE,
    PAGE_INCHES,
    drawing,
    round_below,
    share_axis,
    shortened,
)
from models.scorecard import Scorecard, SubgroupScore

# More than these nobody reads; those with the most errors are shown.
MOST_CLASSES = 50
_MOST_NUMBERED = 25
_PICTURES_ACROSS, _SMALL_PIXELS = 6, 100
_SHORT, _DARK, _FEW_ANSWERS = 3, 0.55, 5
_ROW_INCHES, _EDGE_INCHES = 0.27, 1.15
_SHADES = LinearSegmentedColormap.from_list("shades", ["#FFFFFF", "#CFE3F2", "#5E9FCB", "#0B4F7D"])


def classes_shown(card: Scorecard) -> tuple[int, ...]:
    """Numbers of the classes that plots show: those with images or answers, at most the 50 with most errors."""
    counts = np.array(card.confusion)
    errors = counts.sum(0) + counts.sum(1) - 2 * counts.diagonal()
    present = [number for number in range(len(counts)) if counts[number].sum() + counts[:, number].sum() > 0]
    kept = sorted(present, key=lambda number: (-int(errors[number]), number))[:MOST_CLASSES]
    return tuple(sorted(kept))


def draw_confusion(card: Scorecard, path: Path) -> None:
    """Images by label (rows) and answer (columns); a cell is as dark as its share of the row."""
    shown = classes_shown(card)
    counts = np.array(card.confusion)[np.ix_(shown, shown)]
    images = np.array(card.confusion)[list(shown)].sum(axis=1, keepdims=True)
    shares = counts / np.maximum(1, images)
    names = [shortened(card.per_class[number].label, 18) for number in shown]
    many = len(shown) > _MOST_NUMBERED
    longest = max(len(name) for name in names)
    cell = min(0.62, (PAGE_INCHES - 0.6 - 0.085 * longest) / len(shown))
    height = cell * len(shown) + 0.08 * longest + 0.9
    width = max(4.6, cell * len(shown) + 0.085 * longest + 1.2)
    with drawing((min(PAGE_INCHES, width), height), path) as figure:
        axes = figure.subplots()
        axes.imshow(shares, cmap=_SHADES, vmin=0, vmax=1, aspect="equal", rasterized=False)
        size = max(4.8, min(9.5, 0.55 * 72 * cell))
        axes.set_xticks(range(len(shown)), names, rotation=90 if longest > _SHORT else 0, fontsize=size)
        axes.set_yticks(range(len(shown)), names, fontsize=size)
        axes.set_xlabel("answer")
        axes.set_ylabel("label")
        axes.grid(visible=False)
        axes.spines[:].set_visible(False)
        axes.tick_params(length=0)
        axes.set_xticks(np.arange(-0.5, len(shown)), minor=True)
        axes.set_yticks(np.arange(-0.5, len(shown)), minor=True)
        axes.grid(which="minor", color=LINE, linewidth=0.5)
        axes.tick_params(which="minor", length=0)
        for row, column in zip(*np.nonzero(counts), strict=True):
            # Where there are many classes the diagonal's numbers would only hide the errors.
            wrong = row != column
            if wrong or not many:
                colour = "white" if shares[row, column] > _DARK else ORANGE if wrong else INK
                axes.text(
                    column, row, f"{counts[row, column]}", ha="center", va="center", color=colour,
                    fontsize=max(4.5, min(9.5, 0.42 * 72 * cell)), fontweight="bold" if wrong else "normal",
                )  # fmt: skip


def draw_classes(card: Scorecard, path: Path) -> None:
    """Recall and precision of each class with 95 % intervals, the lowest recall on top."""
    known = [card.per_class[number] for number in classes_shown(card) if card.per_class[number].images]
    known.sort(key=lambda one: (one.recall or 0.0, one.label))
    with drawing((PAGE_INCHES, _EDGE_INCHES + 0.2 + 1.35 * _ROW_INCHES * len(known)), path) as figure:
        axes = figure.subplots()
        ends: list[float] = []
        for scores, colour, mark, shift, name in (
            ([(one.recall, one.recall_interval) for one in known], BLUE, "o", -0.16, "recall"),
            ([(one.precision, one.precision_interval) for one in known], ORANGE, "D", 0.16, "precision"),
        ):
            for place, (value, interval) in enumerate(scores):
                low, high = interval or (value or 0.0, value or 0.0)
                ends.append(low)
                axes.plot([low, high], [place + shift] * 2, color=colour, linewidth=1.6, alpha=0.75)
            values = [value or 0.0 for value, _ in scores]
            axes.plot(values, np.arange(len(known)) + shift, mark, color=colour, label=name, linestyle="none")
        _rows(axes, [f"{shortened(one.label)}  (n = {one.images})" for one in known])
        share_axis(axes, round_below(ends))
        axes.set_xlabel("share, with 95 % interval (Wilson); n = images that bear the label")
        _legend_above(axes, 2)


def draw_subgroups(subgroups: Sequence[SubgroupScore], overall: float, path: Path) -> None:
    """Accuracy of each subgroup with its 95 % interval, beside the accuracy of all."""
    with drawing((PAGE_INCHES, _EDGE_INCHES + 0.3 + 1.2 * _ROW_INCHES * len(subgroups)), path) as figure:
        axes = figure.subplots()
        axes.axvline(
            overall, color=FAINT, linewidth=1.2, linestyle=(0, (4, 3)), label=f"all images: {100 * overall:.1f} %"
        )
        for place, one in enumerate(subgroups):
            axes.plot(one.interval, [place] * 2, color=BLUE, linewidth=1.8, alpha=0.8)
            # As large as the subgroup: area goes with the number of images.
            size = 4 + 7 * (one.images / max(other.images for other in subgroups)) ** 0.5
            axes.plot(one.accuracy, place, "s", color=BLUE, markersize=size)
        names = [shortened(f"{one.column} = {one.value or '(none)'}", 34) for one in subgroups]
        _rows(axes, [f"{name}  (n = {one.images})" for name, one in zip(names, subgroups, strict=True)])
        share_axis(axes, round_below([*(one.interval[0] for one in subgroups), overall]))
        axes.set_xlabel("accuracy, with 95 % interval (Wilson); n = images")
        _legend_above(axes, 1)


def draw_reliability(card: Scorecard, path: Path) -> None:
    """Accuracy by confidence before and after the temperature, above the number of answers in each bin."""
    sets = (
        (card.bins_before, ORANGE, "D", f"temperature 1: error {_points(card.calibration_error_before)}"),
        (card.bins, BLUE, "o", f"temperature {card.temperature or 1:.2f}: error {_points(card.calibration_error)}"),
    )
    with drawing((0.9 * PAGE_INCHES, 5.6), path) as figure:
        axes, counts = figure.subplots(2, 1, sharex=True, height_ratios=(3.2, 1))
        axes.plot([0, 1], [0, 1], color=FAINT, linewidth=1.1, linestyle=(0, (4, 3)), label="honest")
        for order, (bins, colour, mark, name) in enumerate(sets):
            filled = [one for one in bins if one.images]
            # As large as the bin is full: one answer alone says little.
            most = max((one.images for one in filled), default=1)
            axes.plot([one.confidence for one in filled], [one.accuracy for one in filled],
                      color=colour, marker=mark, markersize=5.5, label=name, alpha=0.9)  # fmt: skip
            for one in filled:
                if one.images < max(_FEW_ANSWERS, 0.01 * most):
                    axes.plot([one.confidence], [one.accuracy], mark, color="white", markersize=3)
            _bars(counts, bins, order, colour)
        axes.set_ylabel("share that is right")
        axes.legend(loc="upper left", bbox_to_anchor=(1.0, 1.0))
        axes.set_xlim(0, 1.01)
        axes.set_ylim(-0.02, 1.02)
        axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
        counts.xaxis.set_major_formatter(lambda value, _: f"{100 * value:.0f} %")
        counts.set_yscale("symlog", linthresh=1)
        counts.yaxis.set_major_formatter(lambda value, _: f"{value:,.0f}")
        counts.set_ylabel("answers (log)")
        counts.set_xlabel("confidence (hollow: fewer than 5 answers, or 1 % of the fullest bin)")


def draw_mistakes(mistakes: Sequence[Mistake], path: Path) -> None:
    """The pictures in rows, each with its label, the answer and its confidence."""
    rows = max(1, ceil(len(mistakes) / _PICTURES_ACROSS))
    with drawing((PAGE_INCHES, 2.2 * rows), path) as figure:
        places = figure.subplots(rows, _PICTURES_ACROSS, squeeze=False).ravel()
        for axes in places:
            axes.set_axis_off()
        for axes, mistake in zip(places, mistakes, strict=False):
            pixels = np.asarray(Image.open(io.BytesIO(mistake.picture)))
            axes.imshow(pixels, interpolation="nearest" if max(pixels.shape[:2]) < _SMALL_PIXELS else "antialiased")
            answer = f"answer {shortened(mistake.answer, 12)}: {100 * mistake.confidence:.0f} %"
            axes.set_title(answer, loc="center", color=ORANGE, fontsize=9)
            words = f"label {shortened(mistake.label, 12)}: {100 * mistake.label_confidence:.0f} %"
            axes.annotate(
                words, (0.5, 0), (0, -4), "axes fraction", "offset points", ha="center", va="top", color=INK, fontsize=9
            )


def _bars(axes: Axes, bins: Sequence[ConfidenceBin], order: int, colour: str) -> None:
    for one in bins:
        half = (one.highest - one.lowest) / 2
        place = (one.lowest + order * half + 0.1 * half, 0.0)
        axes.add_patch(Rectangle(place, 0.8 * half, one.images, color=colour, linewidth=0))
    axes.set_ylim(0, max(axes.get_ylim()[1], 1.6 * max((one.images for one in bins), default=1)))


def _rows(axes: Axes, names: Sequence[str]) -> None:
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.tick_params(axis="y", length=0)


def _legend_above(axes: Axes, columns: int) -> None:
    axes.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=columns, borderaxespad=0.2)


def _points(error: float | None) -> str:
    return "unknown" if error is None else f"{100 * error:.1f} points"
