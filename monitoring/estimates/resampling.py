"""How far an estimate moves when reference and window are drawn anew."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitoring.estimates.calibrator import calibrator, redrawn_calibrators
from monitoring.estimates.methods import threshold
from monitoring.estimates.scores import ReferenceScores, Scores
from monitoring.watching.batch import Floats

DRAWS = 200
_SEED = 0
# The calibrated share of a million answers is the mean over their quantiles, to three digits.
_REPRESENTATIVES = 500


@dataclass(frozen=True)
class Redrawn:
    """The published estimate and the reference's accuracy, of one draw each; shape (draws,)."""

    estimate: Floats
    reference: Floats


def redrawn(reference: ReferenceScores, window: Scores) -> Redrawn:
    """
    Bootstrap of the reference by its groups, and the window's noise by its groups; the same input gives the same.

    The reference carries most of the uncertainty: a few hundred images fix threshold and calibration, however many
    predictions there are.
    """
    chance = np.random.default_rng(_SEED)
    counts = _draws(reference.scores, chance)
    drawn, right = counts.sum(axis=1), counts @ reference.right
    accuracy = right / drawn
    limits = _limits(reference, counts, accuracy)
    ascending = np.sort(window.certainty)
    above = 1 - np.searchsorted(ascending, limits, side="left") / len(ascending)
    typical = _representatives(window.confidence)
    based = np.array([float(each.right(typical).mean()) for each in redrawn_calibrators(reference, counts)])
    noise = chance.normal(0, _window_error(reference, window), DRAWS)
    return Redrawn(np.clip((above + based) / 2 + noise, 0, 1), accuracy)


def spread_by_groups(values: Floats, groups: NDArray[np.intp] | None) -> float:
    """Standard error of a mean whose rows are alike within groups; never less than as if each stood alone."""
    count = len(values)
    if count < 2:  # noqa: PLR2004 - one value has no spread
        return 0.5
    centred = values - values.mean()
    alone = float((centred**2).sum()) / (count - 1) / count
    if groups is None:
        return float(np.sqrt(alone))
    sums = np.bincount(groups, weights=centred)
    number = len(sums)
    # One session says nothing about how sessions differ: it counts as one observation.
    together = float((sums**2).sum()) / count**2 * number / (number - 1) if number > 1 else alone * count
    return float(np.sqrt(max(alone, together)))


def _draws(scores: Scores, chance: np.random.Generator) -> NDArray[np.intp]:
    """How often each reference row is drawn; shape (DRAWS, n)."""
    rows = len(scores)
    groups = np.arange(rows) if scores.groups is None else scores.groups
    number = int(groups.max()) + 1
    counts = chance.multinomial(number, np.full(number, 1 / number), size=DRAWS)
    drawn: NDArray[np.intp] = counts[:, groups]
    # A draw of empty luck (a group that holds all rows was missed) falls back to the rows as they are.
    drawn[drawn.sum(axis=1) == 0] = 1
    return drawn


def _limits(reference: ReferenceScores, counts: NDArray[np.intp], accuracy: Floats) -> Floats:
    """ATC's threshold of each draw: the weighted quantile of certainty at the share that was wrong."""
    order = np.argsort(reference.scores.certainty)
    ascending = reference.scores.certainty[order]
    reached = np.cumsum(counts[:, order], axis=1)
    wanted = (1 - accuracy) * (reached[:, -1] - 1)
    places = (reached <= wanted[:, None]).sum(axis=1)
    limits: Floats = ascending[np.minimum(places, len(ascending) - 1)]
    return limits


def _window_error(reference: ReferenceScores, window: Scores) -> float:
    """Standard error of the estimate that comes from the window's own size."""
    reached = window.certainty >= threshold(reference.scores.certainty, reference.right)
    each = (reached + calibrator(reference).right(window.confidence)) / 2
    return spread_by_groups(each, window.groups)


def _representatives(values: Floats) -> Floats:
    if len(values) <= _REPRESENTATIVES:
        return values
    shares = (np.arange(_REPRESENTATIVES) + 0.5) / _REPRESENTATIVES
    found: Floats = np.quantile(values, shares)
    return found
