"""
The lane of blocks: each block's distance is ranked among earlier blocks of production, and low ranks are bet on.

Ranks among validation data would alarm on every benign day, so only blocks under the same champion count; and a rank
needs blocks that are comparable, so every block is measured on equally many predictions. The newest blocks stay out of
the pool, or a drift would soon be ranked among itself.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray

from monitoring.evidence import SHARES
from monitoring.evidence_records import BLOCK_BETS, BLOCKS

Floats = NDArray[np.float64]

_DAY = 86_400
_QUARTER_DAYS = 90
_LEFT_OUT, _MOST_LEFT_OUT = 7, 24
_MOST_IN_POOL = 180
_MOST_AUTOCORRELATION = 0.3
# Fourteen independent blocks go beyond 0.3 by chance in one of ten detectors; these do in one of a hundred.
_BEYOND_CHANCE = 2.33


@dataclass(frozen=True)
class BlockRules:
    """
    How blocks are ranked.

    Attributes:
        burn_in: Blocks a pool needs before anything is ranked against it.
        left_out: So many of the newest blocks, the ranked one among them, stay out of its pool.
        per_quarter: Blocks in a quarter, which the threshold is made of.
        most_in_pool: The newest so many are ranked against.
    """

    burn_in: int = 14
    left_out: int = _LEFT_OUT
    per_quarter: float = float(_QUARTER_DAYS)
    most_in_pool: int = _MOST_IN_POOL


@dataclass(frozen=True)
class BlockRun:
    """
    The lane over whole series of blocks, as simulations need it.

    Attributes:
        ranks: Shape (…, blocks, detectors); NaN in burn-in.
        log10_evidence: The same shape; -inf before the first rank.
        log10_threshold: What each detector has to reach.
        alarm: Shape (…): the first block at which any detector has reached it, counted from 1; 0 = none.
    """

    ranks: Floats
    log10_evidence: Floats
    log10_threshold: float
    alarm: NDArray[np.int64]


def rules_for(seconds: float, burn_in: int) -> BlockRules:
    """
    The rules for blocks of this length.

    A day leaves out 7 and burns in as the settings say (14). Shorter blocks leave out a day's worth, between 7 and 24,
    and burn in for two days' worth, at most 48: an hour has 2,160 a quarter, 24 left out, 48 to burn in.
    """
    a_day = round(_DAY / seconds)
    left_out = min(_MOST_LEFT_OUT, max(_LEFT_OUT, a_day))
    return BlockRules(max(burn_in, min(2 * _MOST_LEFT_OUT, 2 * a_day)), left_out, _QUARTER_DAYS * _DAY / seconds)


def pool_of(block: int, rules: BlockRules) -> slice | None:
    """Which earlier blocks the `block`-th (counted from 1) is ranked among, as a slice; None while it burns in."""
    if block <= rules.burn_in:
        return None
    end = max(rules.burn_in, block - rules.left_out)
    return slice(max(0, end - rules.most_in_pool), end)


def rank(value: Floats | float, pool: Floats, chance: Floats | float) -> Floats:
    """
    The conformal p-value of a distance among those of its pool: small when nearly all of them are nearer.

    Uniform on (0, 1) when value and pool are exchangeable (Vovk, Gammerman and Shafer 2005, §2.3, smoothed).

    Args:
        value: shape (…).
        pool: shape (…, n).
        chance: shape (…), each in (0, 1): breaks ties.
    """
    own = np.asarray(value)[..., None]
    larger, equal = (pool > own).sum(axis=-1), (pool == own).sum(axis=-1)
    ranked: Floats = (larger + np.asarray(chance) * (1 + equal)) / (pool.shape[-1] + 1)
    return ranked


def tie_break(version: int, detector: str, block: int) -> float:
    """A number in (0, 1) that is the same at every repetition and knows nothing of the block's content."""
    digest = hashlib.sha256(f"{version}/{detector}/{block}".encode()).digest()
    return (int.from_bytes(digest[:8]) + 0.5) / 2.0**64


def threshold(rules: BlockRules, detectors: int, false_alarms_per_quarter: float) -> float:
    """What the mean of a detector's bets has to reach: 720 for four detectors, blocks of a day and one false alarm."""
    return detectors * rules.per_quarter / (false_alarms_per_quarter * SHARES[BLOCKS])


def autocorrelation(values: Sequence[float] | Floats) -> float:
    """Correlation of each value with the next; 0 where all are equal or fewer than three."""
    known = np.asarray(values, dtype=np.float64)
    known = known[np.isfinite(known)]
    if len(known) < 3:  # noqa: PLR2004 - two values make one pair
        return 0.0
    centred = known - known.mean()
    spread = float((centred**2).sum())
    return float((centred[1:] * centred[:-1]).sum()) / spread if spread > 0 else 0.0


def resembles_the_one_before(values: Sequence[float] | Floats) -> bool:
    """
    Whether each block is so like the one before that ranks among them deceive: lag-1 autocorrelation above 0.3.

    It has to be above what one in a hundred pools of independent blocks reach by chance, too.
    """
    count = int(np.isfinite(np.asarray(values, dtype=np.float64)).sum())
    return count > 0 and autocorrelation(values) > max(_MOST_AUTOCORRELATION, _BEYOND_CHANCE / count**0.5)


def run(
    values: Floats,
    rules: BlockRules,
    false_alarms_per_quarter: float = 1.0,
    seed: int = 0,
) -> BlockRun:
    """
    The lane over series of blocks; what `monitoring.evidence.update` does for one block, for many series at once.

    Args:
        values: Distances, shape (…, blocks, detectors), every one finite.
        rules: As `rules_for` has them.
        false_alarms_per_quarter: Budget over all lanes, of which this one has half.
        seed: Of the numbers that break ties.
    """
    *series, blocks, detectors = values.shape
    ties = np.random.default_rng(seed).random(values.shape)
    ranks, evidence = np.full(values.shape, np.nan), np.full(values.shape, -np.inf)
    bets = np.array(BLOCK_BETS)
    log_r = np.full((*series, detectors, len(bets)), -np.inf)
    for place in range(blocks):
        pool = pool_of(place + 1, rules)
        if pool is not None:
            earlier = np.swapaxes(values[..., pool, :], -1, -2)
            ranks[..., place, :] = rank(values[..., place, :], earlier, ties[..., place, :])
            log_e = np.log(bets) + (bets - 1) * np.log(ranks[..., place, :, None])
            log_r = np.logaddexp(log_r, 0.0) + log_e
            evidence[..., place, :] = np.logaddexp.reduce(log_r, axis=-1) - log(len(bets))
    limit = log(threshold(rules, detectors, false_alarms_per_quarter))
    over = (evidence >= limit).any(axis=-1)
    alarm = np.where(over.any(axis=-1), over.argmax(axis=-1) + 1, 0)
    return BlockRun(ranks, evidence / log(10), limit / log(10), alarm)
