"""Intervals of a share."""

from math import sqrt
from statistics import NormalDist


def wilson(hits: float, trials: float, level: float = 0.95) -> tuple[float, float]:
    """
    Wilson's score interval (1927), two-sided, within 0..1; (0, 1) where nothing was tried.

    Either end alone is one-sided at (1 + level) / 2. Written out, because scipy's takes a millisecond (it tests, too)
    and one look of the watcher needs hundreds; a test holds the two side by side.
    """
    if trials <= 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf((1 + level) / 2)
    share = hits / trials
    scale = 1 + z * z / trials
    middle = (share + z * z / (2 * trials)) / scale
    half = z * sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials)) / scale
    # Rounding may leave 1e-17 beyond an end that is exact.
    return max(0.0, min(share, middle - half)), min(1.0, max(share, middle + half))
