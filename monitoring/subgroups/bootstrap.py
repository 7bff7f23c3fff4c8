"""Intervals of a subgroup's rates: its confusion cells are drawn again and again, all groups at once."""

from dataclasses import dataclass

import numpy as np
from scipy import sparse

from monitoring.performance import Interval
from monitoring.quality.labelled import Codes, Floats, LabelledAnswers
from monitoring.subgroups.columns import Division
from monitoring.subgroups.rates import Counts, counts_of

RESAMPLES = 2_000

_SEED = 20_261_121
_LEAST_RESAMPLES = 200
_MOST_NUMBERS = 50_000_000
# Right and wrong answers added to each part, one of each in all: a group without an error is not exact.
_ADDED = 1.0
_TAIL = 0.025


@dataclass(frozen=True)
class Resampled:
    """A division's parts as they were and as they might have been; tables of B = 1 and of B = `resamples`."""

    observed: tuple[Counts, ...]
    drawn: tuple[Counts, ...]
    resamples: int

    def rest(self, part: int) -> tuple[Counts, Counts]:
        """All other parts together, observed and drawn."""
        return _others(self.observed, part), _others(self.drawn, part)


def resampled(rows: LabelledAnswers, division: Division, resamples: int = RESAMPLES) -> Resampled:
    """
    Multinomial bootstrap (Efron 1979) stratified by the division's parts, whose sizes stay what they were.

    Whole units are drawn (`LabelledAnswers.units`); units alike in every cell are drawn together, so that where
    each picture stands alone this is one multinomial over the confusion cells. The same rows give the same intervals.
    With very many classes fewer tables are drawn, for memory.
    """
    classes, parts = max(1, len(rows.labels)), len(division.values)
    most = max(_LEAST_RESAMPLES, _MOST_NUMBERS // max(1, 3 * classes * parts))
    count = min(resamples, most)
    chance = np.random.default_rng(_SEED)
    wrong = _wrong_shares(rows.cells, classes)
    observed, drawn = [], []
    for number in range(parts):
        places = np.flatnonzero(division.part == number)
        cells = rows.cells[places]
        observed.append(counts_of(cells, classes))
        drawn.append(_drawn(cells, rows.units[places], wrong, chance, count))
    return Resampled(tuple(observed), tuple(drawn), count)


def interval(value: float, draws: Floats, low: float = -1.0, high: float = 1.0) -> Interval:
    """The middle 95 % of the draws, moved to where the value is, and kept within what it can be."""
    known = np.sort(draws[np.isfinite(draws)])
    if not np.isfinite(value) or known.size < len(draws) / 2:
        return Interval(None, None, None)
    # Sorted by hand: a report asks for thousands of these, and numpy's quantile takes ten times as long.
    lower, middle, upper = (float(known[round(share * (known.size - 1))]) for share in (_TAIL, 0.5, 1 - _TAIL))
    return Interval(value, max(low, min(value, value + lower - middle)), min(high, max(value, value + upper - middle)))


def ratio_interval(value: float, draws: Floats) -> Interval:
    """The same on a logarithmic scale, where a ratio and its inverse are equally far from one."""
    known = draws[np.isfinite(draws) & (draws > 0)]
    if not np.isfinite(value) or value <= 0 or known.size < len(draws) / 2:
        return Interval(value if np.isfinite(value) else None, None, None)
    moved = interval(float(np.log(value)), np.log(known), -np.inf, np.inf)
    assert moved.low is not None
    assert moved.high is not None
    return Interval(value, float(np.exp(moved.low)), float(np.exp(moved.high)))


def _drawn(cells: Codes, units: Codes, wrong: Floats, chance: np.random.Generator, count: int) -> Counts:
    classes = len(wrong)
    if not len(cells):
        return Counts(*(np.zeros((count, classes)) for _ in range(3)))
    places, many = _kinds(cells @ np.array([classes, 1]), units)
    kinds = sparse.vstack([_margins(cells, units, places, classes), *_added(wrong)], format="csr")
    share = np.bincount(cells[:, 0], minlength=classes) / len(cells)
    weight = _ADDED * (share + (share > 0) / np.count_nonzero(share)) / 2
    chances = np.concatenate([many.astype(float), weight, weight])
    again = chance.multinomial(int(many.sum()), chances / chances.sum(), size=count)
    # A kind of chance zero costs a column and says nothing.
    used = chances > 0
    tables = np.asarray((kinds[used].T @ again[:, used].T.astype(float)).T)
    return Counts(tables[:, :classes], tables[:, classes : 2 * classes], tables[:, 2 * classes :])


def _kinds(keys: Codes, units: Codes) -> tuple[Codes, Codes]:
    """A unit of each kind, and how many units are of it: those that have the same rows in the same cells."""
    _, unit, sizes = np.unique(units, return_inverse=True, return_counts=True)
    if sizes.max() == 1:
        signs = np.empty(len(sizes), dtype=np.uint64)
        signs[unit] = keys.astype(np.uint64)
    else:
        # Each cell gets a random number, and each unit the sum of its rows': the same rows, the same sum.
        random = np.random.default_rng(_SEED).integers(2**63, size=int(keys.max()) + 1, dtype=np.uint64)
        order = np.argsort(unit, kind="stable")
        signs = np.add.reduceat(random[keys[order]], np.concatenate([[0], np.cumsum(sizes)[:-1]]))
    _, first, many = np.unique(signs, return_index=True, return_counts=True)
    return first, many


def _margins(cells: Codes, units: Codes, places: Codes, classes: int) -> sparse.csr_matrix:
    """(len(places), 3 K): right, true and answered counts of the units at these places."""
    _, unit = np.unique(units, return_inverse=True)
    number = np.full(int(unit.max()) + 1, -1)
    number[places] = np.arange(len(places))
    kept = number[unit] >= 0
    rows, (truth, answered) = number[unit[kept]], cells[kept].T
    right = truth == answered
    at = np.concatenate([rows[right], rows, rows])
    columns = np.concatenate([truth[right], classes + truth, 2 * classes + answered])
    shape = (len(places), 3 * classes)
    return sparse.coo_matrix((np.ones(len(at)), (at, columns)), shape=shape).tocsr()


def _added(wrong: Floats) -> tuple[sparse.csr_matrix, sparse.csr_matrix]:
    """One right and one wrong answer of each class, as margins."""
    one, none = sparse.identity(len(wrong), format="csr"), sparse.csr_matrix(wrong.shape)
    return sparse.hstack([one, one, one], format="csr"), sparse.hstack([none, one, wrong], format="csr")


def _wrong_shares(cells: Codes, classes: int) -> Floats:
    """(K, K): what each true class is called where it is called wrong; all other classes alike where it never was."""
    counts = np.zeros((classes, classes))
    np.add.at(counts, (cells[:, 0], cells[:, 1]), 1.0)
    np.fill_diagonal(counts, 0.0)
    counts[counts.sum(axis=1) == 0] = 1.0
    if classes > 1:
        np.fill_diagonal(counts, 0.0)
    shares: Floats = counts / counts.sum(axis=1, keepdims=True)
    return shares


def _others(tables: tuple[Counts, ...], part: int) -> Counts:
    total = tables[0]
    for one in tables[1:]:
        total += one
    return total - tables[part]
