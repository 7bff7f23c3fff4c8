"""Intervals of scores that are no plain share, from groups drawn anew: images of one group are alike."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from models.intervals import wilson

Interval = tuple[float, float]

_DRAWS = 1_000
_LEVEL = 0.95
_SEED = 0


@dataclass(frozen=True)
class ResampledScores:
    """
    Intervals at 95 %, within 0..1.

    Attributes:
        f1: of each class; None where no image bears its label.
    """

    accuracy: Interval
    macro_recall: Interval
    macro_f1: Interval
    f1: tuple[Interval | None, ...]


def resample_groups(
    labels: NDArray[np.int64], answers: NDArray[np.int64], groups: Sequence[str], classes: int
) -> ResampledScores:
    """
    Percentile intervals over 1,000 draws of groups with replacement; the same answers always give the same intervals.

    Drawing from answers of which nearly all are right knows too few errors, and none from those that are all right:
    no interval is narrower than Wilson's of a share that rests on as many images.

    labels, answers: class numbers, shape (N,); groups: of each image.
    """
    member = np.unique(np.asarray(groups), return_inverse=True)[1]
    chance = np.random.default_rng(_SEED)
    accuracy, macro_recall, macro_f1 = (np.zeros(_DRAWS) for _ in range(3))
    f1 = np.full((_DRAWS, classes), np.nan)
    right = labels == answers
    number = int(member.max()) + 1
    for draw in range(_DRAWS):
        drawn = np.bincount(chance.integers(number, size=number), minlength=number)
        weights = drawn[member].astype(np.float64)
        images = np.bincount(labels, weights, classes)
        answered = np.bincount(answers, weights, classes)
        hits = np.bincount(labels, weights * right, classes)
        # A class that was not drawn says nothing, as one without images says nothing.
        present = images > 0
        accuracy[draw] = hits.sum() / images.sum()
        macro_recall[draw] = (hits[present] / images[present]).mean()
        f1[draw, present] = 2 * hits[present] / (images + answered)[present]
        macro_f1[draw] = f1[draw, present].mean()
    images, answered, hits = (np.bincount(numbers, minlength=classes) for numbers in (labels, answers, labels[right]))
    present = images > 0
    recall = hits[present] / images[present]
    f1_seen = 2 * hits[present] / (images + answered)[present]
    # A mean of class means is as uncertain as a share of this many images; more than the groups they cannot be.
    of_means = min(number, round(present.sum() ** 2 / (1 / images[present]).sum()))
    return ResampledScores(
        accuracy=_interval(accuracy, float(right.mean()), number),
        macro_recall=_interval(macro_recall, float(recall.mean()), of_means),
        macro_f1=_interval(macro_f1, float(f1_seen.mean()), of_means),
        f1=tuple(
            _interval(f1[:, label], 2 * hits[label] / both, min(number, round(both / 2))) if images[label] else None
            for label, both in enumerate(images + answered)
        ),
    )


def _interval(draws: NDArray[np.float64], seen: float, trials: int) -> Interval:
    """The middle 95 % of what was drawn, with Wilson's interval of the score `seen` over so many trials."""
    low, high = wilson(round(seen * trials), trials)
    known = draws[~np.isnan(draws)]
    if known.size:
        drawn = np.quantile(known, [(1 - _LEVEL) / 2, (1 + _LEVEL) / 2])
        low, high = min(low, float(drawn[0])), max(high, float(drawn[1]))
    return min(low, seen), max(high, seen)
