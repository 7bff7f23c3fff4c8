"""A slice in words: a few conditions on what is known of a picture without its label."""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitoring.image_stats import NAMES
from monitoring.quality.labelled import Floats, LabelledAnswers
from monitoring.short_names import short

Mask = NDArray[np.bool_]

_MOST_VALUES = 50
_LEAST_NUMBERS = 20


@dataclass(frozen=True)
class Feature:
    """
    One column that slices are cut from.

    Attributes:
        column: An image statistic, or a metadata column.
        value: Of a metadata column, where the feature is whether it has this value; "" where it is a number.
        numbers: (N,), without NaN.
    """

    column: str
    value: str
    numbers: Floats


@dataclass(frozen=True)
class Condition:
    """`low` < number <= `high` of a feature; an open end is infinite."""

    feature: Feature
    low: float = -np.inf
    high: float = np.inf

    @property
    def holds(self) -> Mask:
        """(N,): where it does."""
        within: Mask = (self.feature.numbers > self.low) & (self.feature.numbers <= self.high)
        return within

    def words(self) -> str:
        """As "brightness below 0.21" or "camera = B"."""
        name = short(self.feature.column)
        if self.feature.value:
            return f"{name} {'=' if self.low >= 0 else 'is not'} {short(self.feature.value)}"
        if np.isinf(self.low):
            return f"{name} below {self.high:.3g}"
        if np.isinf(self.high):
            return f"{name} above {self.low:.3g}"
        return f"{name} between {self.low:.3g} and {self.high:.3g}"


def holds(conditions: Collection[Condition], count: int) -> Mask:
    """(N,): where all of them hold."""
    found = np.ones(count, dtype=bool)
    for condition in conditions:
        found &= condition.holds
    return found


def features_of(rows: LabelledAnswers, least: int) -> list[Feature]:
    """
    Image statistics, metadata that are numbers, and each metadata value that at least `least` images have.

    A column that is the same everywhere is left out, and so is one that names nearly every image singly.
    """
    found = []
    if len(rows.statistics) == len(rows):
        found += [_filled(name, rows.statistics[:, place]) for place, name in enumerate(NAMES)]
    for column in sorted({name for row in rows.metadata for name in row}):
        values = rows.values(column)
        counts = Counter(values[values != ""].tolist())
        numbers = _numbers(values) if len(counts) >= _LEAST_NUMBERS else None
        if numbers is not None:
            found.append(_filled(column, numbers))
            continue
        large = [(value, count) for value, count in counts.most_common(_MOST_VALUES) if count >= least]
        found += [Feature(column, value, (values == value).astype(float)) for value, _ in large]
    return [feature for feature in found if len(feature.numbers) and np.ptp(feature.numbers) > 0]


def _filled(name: str, numbers: Floats) -> Feature:
    known = np.isfinite(numbers)
    # What is missing lies in the middle, where it starts no slice of its own.
    middle = float(np.median(numbers[known])) if known.any() else 0.0
    return Feature(name, "", np.where(known, numbers, middle).astype(float))


def _numbers(values: NDArray[np.object_]) -> Floats | None:
    """The column as numbers where every value that is said is one."""
    try:
        numbers = np.array([float(value) if value != "" else np.nan for value in values])
    except ValueError:
        return None
    return None if np.isinf(numbers).any() else numbers
