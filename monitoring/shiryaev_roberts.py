"""
The Shiryaev-Roberts statistic of a row of bets: R <- (R + 1) e for each, kept as a logarithm.

Shiryaev (1963), Roberts (1966); with e-values in place of likelihood ratios as in "E-detectors", Shin, Ramdas and
Rinaldo (2022).
"""

from collections.abc import Callable, Iterable, Sequence
from math import exp, inf, log, log1p

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
# Values, shape (N,), to the logarithms of their e-values, shape (N, bets).
Bets = Callable[[Floats], Floats]

# From here on columns are faster than a loop.
_FEW = 256
_LEAST_RANK = 1e-12


def on_shares(bets: Sequence[float], null: float) -> Bets:
    """The likelihood ratio of each share in `bets` against `null`, linear in the value: valid for any value in 0..1."""
    steps = (np.array(bets) - null) / (null * (1 - null))
    return lambda values: np.log1p((values[:, None] - null) * steps)


def on_ranks(powers: Sequence[float]) -> Bets:
    """Of a rank p the e-value k p^(k - 1), for each power k."""
    known = np.array(powers)
    return lambda values: np.log(known) + (known - 1) * np.log(np.maximum(values[:, None], _LEAST_RANK))


def walk(
    log_r: Sequence[float], bets: Bets, values: Sequence[float], limit: float
) -> tuple[tuple[float, ...], int | None]:
    """Log R of each bet after the values, and the place of the first at which their mean has reached the limit."""
    log_e = bets(np.array(values, dtype=np.float64))
    return _in_columns(log_r, log_e, limit) if len(values) > _FEW else _one_by_one(log_r, log_e, limit)


def log_mean(logs: Iterable[float]) -> float:
    """The logarithm of the mean, of logarithms."""
    values = tuple(logs)
    top = max(values)
    if top == -inf:
        return -inf
    return top + log(sum(exp(value - top) for value in values) / len(values))


def _one_by_one(log_r: Sequence[float], log_e: Floats, limit: float) -> tuple[tuple[float, ...], int | None]:
    moved, reached = list(log_r), None
    for place, row in enumerate(log_e.tolist()):
        for position, gain in enumerate(row):
            # log(R + 1) without overflow.
            before = moved[position]
            grown = before + log1p(exp(-before)) if before > 0 else log1p(exp(before))
            moved[position] = grown + gain
        # The mean can only reach the limit when the largest does.
        if reached is None and max(moved) >= limit and log_mean(moved) >= limit:
            reached = place
    return tuple(moved), reached


def _in_columns(log_r: Sequence[float], log_e: Floats, limit: float) -> tuple[tuple[float, ...], int | None]:
    """The same for many values at once: R_t = E_t (R_0 + the sum of 1 / E_s over s < t), E_t = e_1 … e_t."""
    summed = log_e.cumsum(axis=0)
    inverse = np.concatenate([np.logaddexp(log_r, 0.0)[None], -summed[:-1]])
    moved = summed + np.logaddexp.accumulate(inverse, axis=0)
    over = np.logaddexp.reduce(moved, axis=1) - log(log_e.shape[1]) >= limit
    return tuple(moved[-1].tolist()), int(over.argmax()) if over.any() else None
