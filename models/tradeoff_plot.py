"""The picture of a backtest: what each policy costs beside how right it keeps the answers, and accuracy over time."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from matplotlib import dates
from matplotlib.axes import Axes

from models.plot_style import BLUE, FAINT, GREEN, INK, ORANGE, PAGE_INCHES, SKY, drawing, shortened

_COLOURS = (BLUE, ORANGE, GREEN, SKY, INK, FAINT)
_MARKS = ("o", "s", "D", "^", "v", "P", "X", "*")
_LONGEST = 28


@dataclass(frozen=True)
class PolicyPoints:
    """
    One policy.

    Attributes:
        cost: minutes of training.
        accuracy: 0..1, with the ends of its 95 % interval.
        on_frontier: whether no other policy was better for as little.
        times: middles of stretches.
        over_time: accuracy in each, 0..1; None where nothing was labelled.
    """

    name: str
    cost: float
    accuracy: float
    interval: tuple[float, float]
    on_frontier: bool
    times: Sequence[datetime]
    over_time: Sequence[float | None]


def draw_tradeoff(policies: Sequence[PolicyPoints], path: Path) -> None:
    """Left: accuracy over cost, with the frontier as a line; right: accuracy over time. SVG or PNG by the suffix."""
    with drawing((PAGE_INCHES, 4.6), path) as figure:
        costs, times = figure.subplots(1, 2)
        for number, policy in enumerate(policies):
            colour, mark = _COLOURS[number % len(_COLOURS)], _MARKS[number % len(_MARKS)]
            costs.plot([policy.cost] * 2, policy.interval, color=colour, linewidth=1.2, alpha=0.5)
            costs.plot(
                policy.cost, policy.accuracy, mark, color=colour, markersize=7, label=shortened(policy.name, _LONGEST),
                markerfacecolor=colour if policy.on_frontier else "white",
            )  # fmt: skip
            known = [(at, value) for at, value in zip(policy.times, policy.over_time, strict=True) if value is not None]
            if known:
                times.plot([at for at, _ in known], [value for _, value in known],
                           color=colour, marker=mark, markersize=3.5, linewidth=1.3)  # fmt: skip
        best = sorted((one.cost, one.accuracy) for one in policies if one.on_frontier)
        costs.step([cost for cost, _ in best], [right for _, right in best], where="post", color=FAINT,
                   linewidth=1, linestyle=(0, (4, 3)), zorder=0)  # fmt: skip
        costs.set_title("cost and accuracy (filled: nothing is better for less)")
        costs.set_xlabel("minutes of training")
        times.set_title("accuracy over time")
        locator = times.xaxis.get_major_locator()
        times.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))  # type: ignore[no-untyped-call]
        for axes in (costs, times):
            _percent(axes)
        handles, names = costs.get_legend_handles_labels()
        figure.legend(handles, names, loc="outside lower center", ncols=min(4, len(policies)))


def _percent(axes: Axes) -> None:
    axes.set_ylabel("right answers, of those labelled")
    axes.yaxis.set_major_formatter(lambda value, _: f"{100 * value:.3g} %")
