"""How complete the labels of a window are: labels come late, and a young window has few of those it will get."""

from dataclasses import dataclass
from datetime import datetime, timedelta

import numpy as np
from numpy.typing import NDArray

from monitoring.watching.batch import Floats

Moments = NDArray[np.int64]

_MOST_STEPS = 500
# Below this many labels a curve is luck.
LEAST_LABELS = 30
# Fewer than this share of the predictions, or fewer than so many, say nothing about the longest delays.
_LEAST_AT_RISK, _LEAST_SHARE_AT_RISK = 20, 0.02


@dataclass(frozen=True)
class MaturityCurve:
    """
    Share of predictions that have a label by a given age, from past ones.

    Attributes:
        predictions: They rest on; `labels` of them have one.
        ages_s: Delays at which the curve steps up, in seconds, ascending.
        shares: Share labelled by then, 0..1; as long as `ages_s`.
        errors: Standard error of each share (Greenwood).
        horizon_s: The curve ends here: no past prediction is known for longer.
        early: Labels dated before their prediction, by clocks that differ; counted as coming at once.
    """

    predictions: int
    labels: int
    ages_s: Floats
    shares: Floats
    errors: Floats
    horizon_s: float
    early: int

    @property
    def final_share(self) -> float:
        """Share of predictions that get a label in the end, as far as can be known, 0..1."""
        return float(self.shares[-1]) if len(self.shares) else 0.0

    @property
    def median_delay_s(self) -> float | None:
        """By when half of the labels that come at all have come; None without any."""
        if not len(self.shares):
            return None
        return float(self.ages_s[np.searchsorted(self.shares, self.final_share / 2)])

    @property
    def trusted(self) -> bool:
        return self.labels >= LEAST_LABELS

    def share_by(self, ages_s: Floats) -> Floats:
        """Share labelled by each age; level beyond the horizon."""
        places = np.searchsorted(self.ages_s, ages_s, side="right")
        found: Floats = np.concatenate([[0.0], self.shares])[places]
        return found


@dataclass(frozen=True)
class Maturity:
    """
    Of one window.

    Attributes:
        labels: That are in.
        expected: That there will be in the end, those included; None where the past does not tell.
        low, high: 95 % interval of `expected`.
        complete: Share of the expected labels that are in, 0..1; None where none are expected.
    """

    predictions: int
    labels: int
    expected: float | None
    low: float | None
    high: float | None
    complete: float | None

    @property
    def words(self) -> str:
        """As a person says it."""
        if self.expected is None:
            return f"{self.labels} of {self.predictions} predictions have a label; too few to say how many will"
        if not round(self.expected):
            return "no label is in, and none is expected"
        if self.labels >= round(self.expected):
            return f"all of about {self.labels} labels are in"
        return f"{self.labels} of about {self.expected:.0f} labels are in"


def maturity_curve(predicted_at: Moments, labelled_at: Moments, present: datetime) -> MaturityCurve:
    """
    Kaplan and Meier's estimate (1958): a prediction without a label counts for as long as it could have had one.

    Args:
        predicted_at: Microseconds since 1970, shape (N,): every prediction, labelled or not.
        labelled_at: Of its first label, shape (N,); negative where it has none.
        present: Until when labels were read.
    """
    until = round(present.timestamp() * 1e6)
    has = labelled_at >= 0
    waited = np.where(has, labelled_at, until) - predicted_at
    early = int((has & (waited < 0)).sum())
    # A prediction from the future has not waited at all.
    waited_s = np.maximum(waited, 0) / 1e6
    order = np.argsort(waited_s, kind="stable")
    waited_s, came = waited_s[order], has[order]
    ages, first = np.unique(waited_s, return_index=True)
    labels = np.add.reduceat(came, first, dtype=np.int64) if len(ages) else np.empty(0, dtype=np.int64)
    at_risk = len(waited_s) - first
    # Where hardly anything is left to wait, one label would be a leap.
    enough = at_risk >= min(max(_LEAST_AT_RISK, _LEAST_SHARE_AT_RISK * len(waited_s)), max(1, len(waited_s)))
    steps = (labels > 0) & enough
    risk, events = at_risk[steps].astype(np.float64), labels[steps].astype(np.float64)
    # All that are left may be labelled at once; the logarithm of nothing has no room in the sum.
    remaining = np.maximum(1 - events / risk, 1e-12)
    survival = np.cumprod(remaining, dtype=np.float64)
    errors = survival * np.sqrt(np.cumsum(events / (risk * np.maximum(risk - events, 1))))
    kept = _thinned(int(np.count_nonzero(steps)))
    return MaturityCurve(
        predictions=len(waited_s),
        labels=int(has.sum()),
        ages_s=ages[steps][kept],
        shares=(1 - survival)[kept],
        errors=errors[kept],
        horizon_s=float(ages[enough][-1]) if enough.any() else 0.0,
        early=early,
    )


def maturity(curve: MaturityCurve, predicted_at: Moments, labels: int, present: datetime) -> Maturity:
    """
    How many labels a window will have: those that are in, and of every other prediction its chance to get one still.

    Args:
        curve: Of past predictions.
        predicted_at: Of the window's predictions, microseconds since 1970.
        labels: How many of them have one.
        present: Until when labels were read.
    """
    count = len(predicted_at)
    if not curve.trusted or not count:
        return Maturity(count, labels, None, None, None, None)
    ages_s = np.maximum(present.timestamp() - predicted_at / 1e6, 0)
    so_far = curve.share_by(ages_s)
    chance = np.clip((curve.final_share - so_far) / np.maximum(1 - so_far, 1e-9), 0, 1)
    # Which of them are without a label is not asked: all stand for all, and the labelled ones are taken off.
    left = max(0, count - labels)
    still = float(chance.mean()) * left
    spread = float((chance * (1 - chance)).mean()) * left + (float(curve.errors[-1]) * left) ** 2 * (still > 0)
    half = 1.96 * float(np.sqrt(spread))
    expected = labels + still
    return Maturity(
        predictions=count,
        labels=labels,
        expected=expected,
        low=max(float(labels), expected - half),
        high=min(float(count), expected + half),
        complete=min(1.0, labels / expected) if expected > 0 else None,
    )


def drawn(curve: MaturityCurve, points: int = 60) -> list[tuple[timedelta, float, float, float]]:
    """The curve for a picture: age, share labelled by then, and its 95 % band; evenly spread over the horizon."""
    ages = np.linspace(0, curve.horizon_s, max(2, points))
    places = np.searchsorted(curve.ages_s, ages, side="right")
    shares, errors = np.append(0.0, curve.shares)[places], np.append(0.0, curve.errors)[places]
    rows = zip(ages.tolist(), shares.tolist(), (1.96 * errors).tolist(), strict=True)
    return [(timedelta(seconds=age), at, max(0.0, at - half), min(1.0, at + half)) for age, at, half in rows]


def _thinned(steps: int) -> NDArray[np.intp]:
    """At most 500 steps, the last always among them."""
    if steps <= _MOST_STEPS:
        return np.arange(steps)
    return np.unique(np.linspace(0, steps - 1, _MOST_STEPS).round().astype(np.intp))
