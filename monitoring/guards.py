"""
Guards of a version that has just begun to answer: is it surely worse than is tolerated? Pure.

A guard multiplies e-values from the first answer on, one product per bet, and trips when their mean reaches 1 / alpha.
By Ville's inequality (1939) a version whose values keep to the tolerated mean trips it with a probability of at most
alpha, however often and whenever one looks ("Testing by betting", Shafer 2021). That a change can only have come with
the version makes it a plain product, where the watcher's lanes, whose change may come at any time, begin anew with
every value (`monitoring.shiryaev_roberts`); the bets are the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import log

import numpy as np
from numpy.typing import NDArray

from monitoring.shiryaev_roberts import on_shares

ALPHA = 0.01
_BETS = (0.1, 0.25, 0.5, 0.9)  # of the way from the tolerated mean to 1

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class Guard:
    """
    One guard as it stands.

    Attributes:
        name: What it watches.
        units: Values so far; near-copies, or a pair of answers, make one.
        mean: Of the values; None before the first.
        tolerated: Largest mean that is still fine.
        log10_evidence: The largest that the evidence ever was; it trips at `log10_limit`.
        words: What it found, as a sentence without its end.
    """

    name: str
    units: int
    mean: float | None
    tolerated: float
    log10_evidence: float
    log10_limit: float
    words: str

    @property
    def tripped(self) -> bool:
        return self.log10_evidence >= self.log10_limit


def guard(name: str, values: Sequence[float], tolerated: float, words: str, *, alpha: float = ALPHA) -> Guard:
    """
    A guard over values in 0..1, in the order in which they came, whose mean may be up to `tolerated`.

    words: What the values are, with `{mean}` and `{tolerated}` where they are to stand.
    """
    seen = np.clip(np.asarray(values, dtype=np.float64), 0.0, 1.0)
    mean = float(seen.mean()) if len(seen) else None
    return _guard(name, seen, tolerated, mean, tolerated, words, alpha)


def guard_of_differences(
    name: str, differences: Sequence[float], tolerated: float, words: str, *, alpha: float = ALPHA
) -> Guard:
    """
    The same over differences in -1..1 between what is tried and the champion, such as of two shares of errors.

    Each stands for a value of (1 + difference) / 2, of which nothing has to be known but its mean.
    """
    seen = (1 + np.clip(np.asarray(differences, dtype=np.float64), -1.0, 1.0)) / 2
    mean = float(2 * seen.mean() - 1) if len(seen) else None
    return _guard(name, seen, (1 + tolerated) / 2, mean, tolerated, words, alpha)


def blocks(tried: Sequence[bool]) -> list[range]:
    """
    Blocks of consecutive answers, each with one at least of what is tried and of the champion.

    A block ends as soon as it has both, so that more answers never change those before; whose an answer is was drawn
    by chance, so that within a block the two are alike but for the version.
    """
    found, start, seen = [], 0, set[bool]()
    for place, own in enumerate(tried):
        seen.add(own)
        if len(seen) > 1:
            found.append(range(start, place + 1))
            start, seen = place + 1, set()
    return found


def difference(tried: Sequence[bool], values: Sequence[float], block: range) -> float:
    """The mean value of what is tried minus that of the champion, within one block."""
    own = [values[place] for place in block if tried[place]]
    others = [values[place] for place in block if not tried[place]]
    return sum(own) / len(own) - sum(others) / len(others)


def _guard(
    name: str, values: Floats, null: float, mean: float | None, tolerated: float, words: str, alpha: float
) -> Guard:
    limit = -log(alpha) / log(10)
    # Where all that can happen is tolerated, there is nothing to bet on.
    evidence = _largest(values, null) / log(10) if len(values) and 0 < null < 1 else 0.0
    shown = "–" if mean is None else f"{mean:.1%}"
    said = words.format(mean=shown, tolerated=f"{tolerated:.1%}")
    return Guard(name, len(values), mean, tolerated, max(0.0, evidence), limit, said)


def _largest(values: Floats, null: float) -> float:
    """The largest logarithm of the bets' mean product over all beginnings of the values."""
    bets = [null + part * (1 - null) for part in _BETS]
    products = on_shares(bets, null)(values).cumsum(axis=0)
    return float((np.logaddexp.reduce(products, axis=1) - log(len(bets))).max())
