"""Whether a subgroup is treated otherwise: a permutation test for each rate, in closed form; and Holm's correction."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import special

from monitoring.quality.labelled import Codes, Floats, LabelledAnswers
from monitoring.subgroups.rates import ACCURACY, CALIBRATION, FALSE_POSITIVES, PRECISION, RECALL

Mask = NDArray[np.bool_]

_LEAST_SKEWNESS = 1e-4


def metric_p_value(rows: LabelledAnswers, inside: Mask, outside: Mask, metric: str, among: Mask) -> float:
    """
    Two-sided chance of a difference as large as this one where the group is treated like the rest.

    What must be alike is conditioned on: recall and false positives are compared within each true class and
    precision within each answer, so that a group with other classes is not accused of its classes. Accuracy and
    calibration are compared as they are. NaN where nothing can be compared.

    Args:
        rows: All answers.
        inside: (N,), the group.
        outside: (N,), the rest.
        metric: One of `monitoring.subgroups.rates`.
        among: (K,), the classes over which the rate is averaged.
    """
    both = np.flatnonzero(inside | outside)
    member, units = inside[both], rows.units[both]
    if metric == CALIBRATION:
        gap = (rows.confidence - rows.right)[both]
        known = np.isfinite(gap)
        return permutation_p_value(gap[known], np.zeros(known.sum(), dtype=np.intp), member[known], units[known])
    classes = len(among)
    cell = rows.cells[both] @ np.array([classes, 1])
    # Rows of one cell score alike: each occurring cell is scored once.
    kinds, kind = _numbered(cell)
    score, strata, counted = _scores(kinds, kind, member, metric, among)
    if rows.all_alone:
        total, mine = np.bincount(kind), np.bincount(kind, weights=member, minlength=len(kinds))
        return _p_value(score[counted], strata[counted], mine[counted], total[counted])
    kept = counted[kind]
    return permutation_p_value(score[kind][kept], strata[kind][kept], member[kept], units[kept])


def permutation_p_value(score: Floats, strata: Codes, member: Mask, units: Codes) -> float:
    """
    Two-sided p-value of a group's total score, were it a random choice of units within strata.

    The permutation distribution is not drawn but given by its mean, variance and skewness as a Pearson type III
    (Mielke and Berry, Permutation Methods, 2001, §2.3), which stays right far out in the tail, where a corrected
    p-value lies and where the normal is too sure by a factor. Rows of one unit move together: they are summed, and
    compared with units of about their size. A unit of which only some rows are in the group counts as two.

    Args:
        score: (N,), finite.
        strata: (N,), within which scores are comparable.
        member: (N,), whether in the group.
        units: (N,), as in `LabelledAnswers.units`.
    """
    if not member.any() or member.all():
        return float("nan")
    means = np.bincount(strata, weights=score) / np.maximum(np.bincount(strata), 1)
    score, strata, member = _summed(score - means[strata], strata, member, units)
    return _p_value(score, strata, member.astype(float), np.ones(len(score)))


def _p_value(score: Floats, strata: Codes, inside: NDArray[Any], total: NDArray[Any]) -> float:
    """The same of kinds of units: `total` of each in all, and `inside` the group."""
    if not inside.sum() or not (total - inside).sum():
        return float("nan")
    _, strata = _numbered(strata)
    count, mine = np.bincount(strata, weights=total), np.bincount(strata, weights=inside)
    centred = score - (np.bincount(strata, weights=score * total) / count)[strata]
    second = np.bincount(strata, weights=total * centred * centred) / count
    third = np.bincount(strata, weights=total * centred * centred * centred) / count
    pairs = mine * (count - mine) / np.maximum(count - 1, 1)
    variance = float(pairs @ second)
    # Rounding leaves a trace of variance where every score is the same.
    if variance <= 1e-18 * float(total @ np.square(score)) or variance <= 0:
        return 1.0 if np.any(pairs > 0) else float("nan")
    skewness = float((pairs * (count - 2 * mine) / np.maximum(count - 2, 1)) @ third) / variance**1.5
    height = float(inside @ centred) / np.sqrt(variance)
    return min(1.0, 2 * min(_upper_tail(height, skewness), _upper_tail(-height, -skewness)))


def _numbered(codes: Codes) -> tuple[Codes, Codes]:
    """The codes that occur, and each code's number among them; as `np.unique`, without its sorting."""
    occurs = np.bincount(codes) > 0
    return np.flatnonzero(occurs), (np.cumsum(occurs) - 1)[codes]


def _upper_tail(height: float, skewness: float) -> float:
    """Of a Pearson type III with mean 0 and variance 1; it is a gamma, moved, and mirrored where it leans left."""
    if abs(skewness) < _LEAST_SKEWNESS:
        return float(special.ndtr(-height))
    shape = 4 / skewness**2
    at = shape + height * np.sqrt(shape) * np.sign(skewness)
    if at <= 0:  # beyond the end
        return 1.0 if skewness > 0 else 0.0
    return float(special.gammaincc(shape, at) if skewness > 0 else special.gammainc(shape, at))


def holm(p_values: Sequence[float], budget: float = 1.0) -> list[float]:
    """
    Corrected p-values (Holm 1979), comparable with the whole level; NaN counts for nothing and stays.

    budget: the share of the level that this family may spend, where several share it.
    """
    given = np.asarray(p_values, dtype=float)
    order = [int(place) for place in np.argsort(given) if np.isfinite(given[place])]
    corrected, largest = given.copy(), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, float(given[place]) * (len(order) - rank) / budget))
        corrected[place] = largest
    return [float(value) for value in corrected]


def _scores(kinds: Codes, kind: Codes, member: Mask, metric: str, among: Mask) -> tuple[Floats, Codes, Mask]:
    """Of each kind of cell: what it adds to the group's rate, the stratum it is compared in, and whether it counts."""
    truth, answered = np.divmod(kinds, len(among))
    right = (truth == answered).astype(float)
    if metric == ACCURACY:
        return right, np.zeros(len(kinds), dtype=np.intp), np.ones(len(kinds), dtype=bool)
    mine = np.bincount(kind[member], minlength=len(kinds))
    if metric == FALSE_POSITIVES:
        # The line of a class's false positives is the group's images of all other classes.
        others = mine.sum() - np.bincount(truth, weights=mine, minlength=len(among))
        return (1 - right) * _shares(others, among)[answered], truth, np.ones(len(kinds), dtype=bool)
    if metric not in {RECALL, PRECISION}:
        raise ValueError(f"{metric} is described, never judged")
    stratum = truth if metric == RECALL else answered
    below = np.bincount(stratum, weights=mine, minlength=len(among))
    return right * _shares(below, among)[stratum], stratum, among[stratum]


def _shares(below: NDArray[Any], among: Mask) -> Floats:
    """(K,): what one row weighs in the mean over the classes marked in `among`."""
    return np.where(among & (below > 0), 1 / np.maximum(below, 1), 0.0)


def _summed(score: Floats, strata: Codes, member: Mask, units: Codes) -> tuple[Floats, Codes, Mask]:
    """One row a unit: its total, a stratum of units of its size and most common stratum, and whether it is inside."""
    _, unit, sizes = np.unique(units * 2 + member, return_inverse=True, return_counts=True)
    if sizes.max() == 1:
        return score, strata, member
    total = np.bincount(unit, weights=score).astype(float)
    pairs, many = np.unique(unit * (int(strata.max()) + 1) + strata, return_counts=True)
    owner, kind = np.divmod(pairs, int(strata.max()) + 1)
    most = np.zeros(len(sizes), dtype=np.intp)
    order = np.lexsort((many, owner))
    most[owner[order]] = kind[order]  # the last written is the most common
    within = np.zeros(len(sizes), dtype=bool)
    within[unit] = member
    size = np.log2(sizes).round().astype(np.intp)
    strata = most * (int(size.max()) + 1) + size
    return total, strata, within
