"""Many columns at a few ranks of the pooled rows: what a permutation needs to be a handful of counts."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray
from scipy.special import kolmogorov

from monitoring.detectors.columns import Numbers
from monitoring.watching.batch import Floats

_MIDDLE = 48
_DENSEST = 8  # the outer eighths are looked at closer and closer to their ends
# P(Berk-Jones statistic > x) is below this many exp(-x) from p = 0.1 downwards, for windows of 10 to 10,000 rows
# beside references of 200 to 5,000: simulated, and only what is far from significant rests on it.
_BERK_JONES = 9.0


@dataclass(frozen=True)
class Bins:
    """
    Numbers of window and reference, cut at ranks of both together.

    Attributes:
        edges: shape (S, G), rising: pooled values of each column.
        window, pooled: shape (S, G): rows at or below each edge.
        sizes: shape (S,): rows of the window that have a value; `totals` likewise of both.
    """

    columns: tuple[Numbers, ...]
    edges: Floats
    window: Floats
    pooled: Floats
    sizes: Floats
    totals: Floats

    def p_values(self) -> Floats:
        """Shape (S,), each for its column alone."""
        return p_values(self.window, self.pooled, self.sizes, self.totals)

    @cached_property
    def codes(self) -> NDArray[np.uint8]:
        """Shape (rows of the reference, then of the window, S): the bin of each value; G + 1 where it is missing."""
        rows = len(self.columns[0].reference) + len(self.columns[0].window)
        found = np.empty((rows, len(self.columns)), dtype=np.uint8)
        for place, column in enumerate(self.columns):
            values = np.concatenate([column.reference, column.window])
            bins = np.searchsorted(self.edges[place], values, side="left")
            found[:, place] = np.where(np.isfinite(values), bins, self.edges.shape[1] + 1)
        return found

    def p_values_of(self, rows: NDArray[np.intp], *, are_window: bool) -> Floats:
        """Shape (S,): as if these pooled rows had been the window, or all but these."""
        columns, edges = self.edges.shape
        width = edges + 2
        flat = self.codes[rows].astype(np.int64) + np.arange(columns) * width
        counts = np.bincount(flat.ravel(), minlength=columns * width).reshape(columns, width)
        below, sizes = counts[:, :edges].cumsum(axis=1), counts[:, : edges + 1].sum(axis=1)
        if not are_window:
            below, sizes = self.pooled - below, self.totals - sizes
        return p_values(below, self.pooled, sizes, self.totals)


def bins_of(columns: Sequence[Numbers]) -> Bins | None:
    """The columns that both sides have and that are not one constant; None without any."""
    usable = tuple(column for column in columns if column.comparable and _varies(column))
    if not usable:
        return None
    most = max(len(column.sorted_reference) + len(column.sorted_window) for column in usable)
    edges = np.stack([_edges(column, len(_ranks(most))) for column in usable])
    pairs = list(zip(usable, edges, strict=True))
    window = np.stack([np.searchsorted(column.sorted_window, cuts, side="right") for column, cuts in pairs])
    reference = np.stack([np.searchsorted(column.sorted_reference, cuts, side="right") for column, cuts in pairs])
    sizes = np.array([len(column.sorted_window) for column in usable], dtype=np.float64)
    totals = sizes + [len(column.sorted_reference) for column in usable]
    return Bins(usable, edges, window.astype(np.float64), (window + reference).astype(np.float64), sizes, totals)


def p_values(below: Floats, pooled: Floats, sizes: Floats, totals: Floats) -> Floats:
    """
    Shape (S,): of two tests a column, one for the middle and one for the tails.

    The middle is best seen by Kolmogorov-Smirnov, the tails by the largest likelihood ratio of a cut (Berk & Jones,
    1979): a tenth of the rows far outside moves the cumulative share by a tenth only, and is unheard of all the same.
    """
    sizes, others = sizes[:, None], (totals - sizes)[:, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        mine, theirs, both = below / sizes, (pooled - below) / others, pooled / totals[:, None]
        distance = np.abs(mine - theirs).max(axis=1)
        gain = (sizes * _divergence(mine, both) + others * _divergence(theirs, both)).max(axis=1)
        root = np.sqrt(sizes * others / totals[:, None])[:, 0]
        # Stephens' correction brings the limit law to small samples.
        middle = kolmogorov((root + 0.12 + 0.11 / root) * distance)
    found: Floats = np.minimum(1.0, 2 * np.minimum(middle, _BERK_JONES * np.exp(-gain)))
    return np.where(np.isfinite(found), found, 1.0)


def _divergence(share: Floats, expected: Floats) -> Floats:
    one = np.where(share > 0, share * np.log(share / expected), 0.0)
    other = np.where(share < 1, (1 - share) * np.log((1 - share) / (1 - expected)), 0.0)
    total: Floats = one + other
    return total


def _edges(column: Numbers, count: int) -> Floats:
    # Two sorted runs: a merge sort takes them in one pass.
    pooled = np.sort(np.concatenate([column.sorted_reference, column.sorted_window]), kind="stable")
    edges = pooled[_ranks(len(pooled)) - 1].astype(np.float64)
    return np.concatenate([edges, np.full(count - len(edges), edges[-1])])


def _ranks(rows: int) -> NDArray[np.intp]:
    outer = [1, 2, 3]
    while outer[-1] * _DENSEST < rows:
        outer.append(outer[-1] + -(-outer[-1] // 3))
    tail = np.array(outer)
    middle = np.linspace(rows / _DENSEST, rows - rows / _DENSEST, _MIDDLE).round().astype(np.intp)
    ranks = np.unique(np.concatenate([tail, middle, rows - tail]))
    return ranks[(ranks > 0) & (ranks < rows)].astype(np.intp) if rows > 1 else np.array([1])


def _varies(column: Numbers) -> bool:
    lowest = min(column.sorted_reference[0], column.sorted_window[0])
    return bool(max(column.sorted_reference[-1], column.sorted_window[-1]) > lowest)
