"""Paired comparison of two classifiers on the same images: Tango's score test, design effect, sample size."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from math import ceil, comb, exp, inf, isinf, lgamma, log, sqrt
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

# Nominal level of the test of "no worse than a margin": its worst true level over the sizes,
# discordances and margins met here is 4.9 % (at a nominal 5 % it would be 6.3 %).
LEVEL = 0.04


@dataclass(frozen=True)
class PairedCounts:
    """
    What two classifiers did on the same images.

    Attributes:
        images: Number of images, divided by the design effect, hence not always whole.
        lost: Images that the champion had right and the candidate has wrong.
        won: Images that the champion had wrong and the candidate has right.

    """

    images: float
    lost: float
    won: float

    @property
    def loss(self) -> float:
        """Share of images lost minus share won; below zero the candidate is better."""
        return (self.lost - self.won) / self.images if self.images else 0.0

    @property
    def discordance(self) -> float:
        """Share of images on which exactly one of the two is right."""
        return (self.lost + self.won) / self.images if self.images else 0.0


def paired_counts(
    champion_right: Sequence[bool] | NDArray[np.bool_],
    candidate_right: Sequence[bool] | NDArray[np.bool_],
    groups: Sequence[str] | None = None,
) -> tuple[PairedCounts, float]:
    """
    Counts divided by their design effect, and that effect.

    groups: one name per image; images of one group are not independent. None: each image its own group.
    """
    champion = np.asarray(champion_right, dtype=np.int64)
    candidate = np.asarray(candidate_right, dtype=np.int64)
    difference = champion - candidate
    effect = design_effect(difference, groups)
    lost, won = int((difference > 0).sum()), int((difference < 0).sum())
    return PairedCounts(len(difference) / effect, lost / effect, won / effect), effect


def design_effect(difference: NDArray[np.int64], groups: Sequence[str] | None) -> float:
    """
    Variance of the mean paired difference computed over groups, divided by that over images; at least 1.

    One group more, of the usual size and with every image of it lost, is counted in. Where copies come in bursts and
    few bursts differ, the variance seen is chance itself: of 30 bursts of ten copies and a true loss of 3 points, four
    in ten show no loss at all, and 300 images would seem to rule it out.
    """
    if groups is None or len(difference) < 2:  # noqa: PLR2004
        return 1.0
    _, member = np.unique(np.asarray(groups), return_inverse=True)
    sizes = np.bincount(member).astype(np.float64)
    found = len(sizes)
    if found == len(difference) or found < 2:  # noqa: PLR2004
        return 1.0 if found == len(difference) else float(len(difference))
    centred = difference - difference.mean()
    # As large as the group of an image drawn at random; a burst weighs as much as it can do harm.
    usual = float((sizes**2).sum() / sizes.sum())
    over_images = float((centred**2).sum()) + usual
    sums = np.bincount(member, weights=centred, minlength=found)
    over_groups = float((sums**2).sum()) * found / (found - 1) + usual**2
    return max(1.0, over_groups / over_images)


def score(counts: PairedCounts, margin: float) -> float:
    """
    Tango's (1998) score statistic for a loss of at least `margin`; very negative speaks for "no worse".

    margin: between -1 and 1, in shares (0.02 is two points). No images: 0.
    """
    n, lost, won = counts.images, counts.lost, counts.won
    if n <= 0:
        return 0.0
    if margin < 0:
        # The restricted estimate is written for margins of at least zero; mirrored, the two swap places.
        return -score(PairedCounts(n, won, lost), -margin)
    b = -lost - won + (2 * n - lost + won) * margin
    c = -won * margin * (1 - margin)
    restricted = (sqrt(max(0.0, b * b - 8 * n * c)) - b) / (4 * n)
    variance = n * (2 * restricted + margin * (1 - margin))
    difference = lost - won - n * margin
    if variance <= 0:
        return 0.0 if difference == 0 else (inf if difference > 0 else -inf)
    return difference / sqrt(variance)


def no_worse(counts: PairedCounts, margin: float, level: float = LEVEL) -> bool:
    """Whether a loss of `margin` or more is rejected at the one-sided `level`."""
    return score(counts, margin) < -_normal_quantile(1 - level)


def upper_bound(counts: PairedCounts, level: float) -> float:
    """Largest loss that is not rejected at the one-sided `level`; 1 without images."""
    quantile = _normal_quantile(1 - level)
    return _root(lambda margin: score(counts, margin) + quantile, counts)


def lower_bound(counts: PairedCounts, level: float) -> float:
    """Smallest loss that is not rejected at the one-sided `level`; -1 without images."""
    return -upper_bound(PairedCounts(counts.images, counts.won, counts.lost), level)


def images_needed(
    margin: float,
    discordance: float,
    power: float,
    level: float = LEVEL,
    loss: float = 0.0,
) -> int:
    """
    Images with which a candidate of true `loss` passes the test of `margin` with probability `power`.

    Large-sample formula: within about 5 % of the exact figure. discordance: share of images on which one of
    the two is right; raised to |loss| where it is smaller. Raises ValueError if loss >= margin.
    """
    if loss >= margin:
        message = f"no number of images shows a loss of {loss} to be below a margin of {margin}"
        raise ValueError(message)
    discordance = max(discordance, abs(loss))
    lost, won = (discordance + loss) / 2, (discordance - loss) / 2
    if margin <= 0:
        # A gain is proven against zero loss, where the null variance is the discordance itself.
        null_variance = discordance - margin * margin
    else:
        b = -lost - won + (2 - lost + won) * margin
        c = -won * margin * (1 - margin)
        null_variance = 2 * (sqrt(max(0.0, b * b - 8 * c)) - b) / 4 + margin * (1 - margin)
    true_variance = max(0.0, discordance - loss * loss)
    spread = _normal_quantile(1 - level) * sqrt(max(0.0, null_variance)) + _normal_quantile(power) * sqrt(true_variance)
    return max(1, ceil((spread / (margin - loss)) ** 2))


def chance_of_passing(images: int, margin: float, discordance: float, loss: float = 0.0, level: float = LEVEL) -> float:
    """Exact probability that the test passes; independent images, true `loss` and `discordance`."""
    lost_share, won_share = (discordance + loss) / 2, (discordance - loss) / 2
    total = 0.0
    for lost in _likely(images, lost_share):
        for won in _likely(images, won_share):
            if lost + won <= images and no_worse(PairedCounts(images, lost, won), margin, level):
                total += exp(_log_trinomial(images, lost, won, lost_share, won_share))
    return total


def chance_of_at_least(heads: int, tosses: int) -> float:
    """Exact probability of so many heads or more with a fair coin."""
    return float(sum(comb(tosses, number) for number in range(max(0, heads), tosses + 1)) / 2**tosses)


def _root(function: Callable[[float], float], counts: PairedCounts) -> float:
    """Where a function that falls with the margin crosses zero, by halving; scores are monotone in the margin."""
    if counts.images <= 0:
        return 1.0
    low, high = -1.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        value = function(middle)
        if isinf(value):
            value = 1.0 if value > 0 else -1.0
        low, high = (middle, high) if value > 0 else (low, middle)
    return (low + high) / 2


def _normal_quantile(probability: float) -> float:
    return NormalDist().inv_cdf(probability)


def _likely(images: int, share: float) -> range:
    """Counts within seven standard deviations; what lies beyond adds less than one in a billion."""
    spread = 7 * sqrt(images * share * (1 - share)) + 7
    return range(max(0, int(images * share - spread)), min(images, int(images * share + spread)) + 1)


def _log_trinomial(images: int, lost: int, won: int, lost_share: float, won_share: float) -> float:
    rest, rest_share = images - lost - won, 1 - lost_share - won_share
    value = lgamma(images + 1) - lgamma(lost + 1) - lgamma(won + 1) - lgamma(rest + 1)
    for count, share in ((lost, lost_share), (won, won_share), (rest, rest_share)):
        if count and share <= 0:
            return -inf
        value += count * log(share) if count else 0.0
    return value
