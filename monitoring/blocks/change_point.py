"""Where a change began: the place from which on the evidence, summed up to now, is largest."""

from collections.abc import Sequence
from math import log

import numpy as np
from numpy.typing import NDArray

from monitoring.evidence_records import BLOCK_BETS

Floats = NDArray[np.float64]


def change_point(log_e: Floats) -> tuple[int, float] | None:
    """
    The place k with the largest sum of log e from k to now, over any bet, and that sum; None where no sum is above 0.

    The maximum-likelihood estimate of a change point (Page 1954), with e-values in place of likelihood ratios.

    log_e: shape (units, bets), oldest first; NaN where nothing was bet.
    """
    if not log_e.size:
        return None
    sums = np.nan_to_num(log_e)[::-1].cumsum(axis=0)[::-1].max(axis=1)
    place = int(sums.argmax())
    return (place, float(sums[place])) if sums[place] > 0 else None


def log_e_of_ranks(ranks: Sequence[float | None]) -> Floats:
    """The logarithms of the block lane's e-values, shape (ranks, bets); NaN where there is no rank."""
    known = np.array([np.nan if value is None else value for value in ranks], dtype=np.float64)[:, None]
    bets = np.array(BLOCK_BETS)
    found: Floats = np.array([log(bet) for bet in BLOCK_BETS]) + (bets - 1) * np.log(known)
    return found
