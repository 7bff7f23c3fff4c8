"""What callers send along: cameras, sites, shifts, exposure times."""

import numpy as np

from monitoring.detectors import kolmogorov_smirnov, mixes
from monitoring.detectors.columns import Categories, Numbers
from monitoring.detectors.detection import Detection
from monitoring.reference.coded import Coded
from monitoring.reference.profile import CATEGORY, NUMBER, ReferenceProfile
from monitoring.watching.batch import Batch, Floats

FAMILY = "metadata"


def detect(profile: ReferenceProfile, batch: Batch) -> list[Detection]:
    """Every column that the reference has and that is no identifier; values that came or vanished are in its mix."""
    found = [*mixes.compare(categories(profile, batch)), *kolmogorov_smirnov.compare(numbers(profile, batch))]
    # Two tests in one family: each kind is corrected for itself, and then for there being two.
    kinds = len({type(one.reference) for one in found})
    return [_raised(one, kinds) for one in found] if kinds > 1 else found


def categories(profile: ReferenceProfile, batch: Batch) -> list[Categories]:
    found = []
    for name, column in profile.columns.items():
        if column.kind == CATEGORY:
            coded = batch.column(name)
            found.append(Categories(FAMILY, name, column.values, coded.counts(), coded.codes, coded.values))
    return found


def numbers(profile: ReferenceProfile, batch: Batch) -> list[Numbers]:
    names = [name for name, column in profile.columns.items() if column.kind == NUMBER]
    return [
        Numbers(FAMILY, name, as_numbers(profile.plain.column(name)), as_numbers(batch.column(name))) for name in names
    ]


def as_numbers(column: Coded) -> Floats:
    """Shape (N,): NaN where a value is missing or no number."""
    values = np.array([*map(_number, column.values), np.nan])
    found: Floats = values[column.codes]
    return found


def _number(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _raised(one: Detection, times: int) -> Detection:
    return Detection(**{**vars(one), "p_value": min(1.0, one.p_value * times)})
