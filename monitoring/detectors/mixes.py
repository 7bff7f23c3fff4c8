"""Categories compared by their counts: a G-test that small counts do not fool."""

from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import chi2

from monitoring.detectors.columns import Categories
from monitoring.detectors.detection import MOST_PLACES, Detection, holm
from monitoring.watching.batch import Floats

_LEAST_EXPECTED = 1.0
_MOST_VALUES = 50


def compare(columns: Sequence[Categories]) -> list[Detection]:
    """A detection for each column that both sides have, their p-values corrected for each other."""
    comparable = [column for column in columns if sum(column.reference.values()) and sum(column.window.values())]
    tests = [g_test(column.reference, column.window) for column in comparable]
    p_values = holm([p for _, p in tests])
    return [
        Detection(
            family=column.family,
            name=column.name,
            statistic=statistic,
            effect=mix_distance(column.reference, column.window),
            p_value=p,
            places=_places(column),
        )
        for column, (statistic, _), p in zip(comparable, tests, p_values, strict=True)
    ]


def g_test(reference: Mapping[str, int], window: Mapping[str, int]) -> tuple[float, float]:
    """
    Likelihood-ratio statistic and p-value of two mixes having one source.

    The most frequent values stand alone; values that are expected less than once are counted together, as are all
    beyond the fiftieth, and Williams' correction takes back what small counts add (Sokal & Rohlf, Biometry, 17.4).
    """
    table = pooled(reference, window)
    if table.shape[1] < 2:  # noqa: PLR2004 - one value cannot be mixed differently
        return 0.0, 1.0
    statistic = float(g_statistic(table[1], table[0]))
    total, sides = table.sum(), table.sum(axis=1)
    freedom = table.shape[1] - 1
    extra = (total * (1 / sides).sum() - 1) * (total * (1 / table.sum(axis=0)).sum() - 1)
    statistic /= 1 + extra / (6 * total * freedom)
    return statistic, float(chi2.sf(statistic, freedom))


def pooled(reference: Mapping[str, int], window: Mapping[str, int]) -> Floats:
    """Counts (2, k), reference first, of values that can be expected in both; what is rare is one value."""
    ours, theirs = sum(reference.values()), sum(window.values())
    alone = frequent(reference, window)
    table = np.array([[side.get(value, 0) for value in alone] for side in (reference, window)], dtype=np.float64)
    rest = np.array([[ours], [theirs]], dtype=np.float64) - table.reshape(2, -1).sum(axis=1, keepdims=True)
    return np.hstack([table.reshape(2, -1), rest]) if rest.sum() else table.reshape(2, -1)


def frequent(reference: Mapping[str, int], window: Mapping[str, int]) -> list[str]:
    """The values that can be expected in both, by what is known of both together; at most fifty."""
    ours, theirs = sum(reference.values()), sum(window.values())
    smaller = min(ours, theirs) / max(1, ours + theirs)
    both = {value: reference.get(value, 0) + window.get(value, 0) for value in {**reference, **window}}
    alone = [value for value, count in both.items() if count * smaller >= _LEAST_EXPECTED]
    return sorted(alone, key=lambda value: (-both[value], value))[:_MOST_VALUES]


def g_statistic(window: Floats, reference: Floats) -> Floats:
    """Of counts (…, k): twice the log likelihood that two mixes gain over one."""
    both = window + reference
    ours, theirs = window.sum(axis=-1, keepdims=True), reference.sum(axis=-1, keepdims=True)
    total = ours + theirs
    gained = _gain(window, both * ours / total) + _gain(reference, both * theirs / total)
    statistic: Floats = np.maximum(0.0, 2 * gained.sum(axis=-1))
    return statistic


def mix_distance(reference: Mapping[str, int], window: Mapping[str, int]) -> float:
    """Total-variation distance of two mixes, 0..1."""
    first, second = sum(reference.values()), sum(window.values())
    if not first or not second:
        return 0.0
    values = reference.keys() | window.keys()
    apart = sum(abs(reference.get(value, 0) / first - window.get(value, 0) / second) for value in values)
    # Many roundings may add up to a little more than nothing in common.
    return min(1.0, apart / 2)


def _gain(counts: Floats, expected: Floats) -> Floats:
    gain: Floats = counts * np.log(np.divide(counts, expected, out=np.ones_like(expected), where=counts > 0))
    return gain


def _places(column: Categories) -> tuple[int, ...]:
    """Rows whose value has become most frequent beyond its share in the reference."""
    ours, theirs = sum(column.reference.values()), sum(column.window.values())
    excess = np.array(
        [column.window.get(value, 0) / theirs - column.reference.get(value, 0) / ours for value in column.values]
    )
    found: list[int] = []
    for code in np.argsort(-excess, kind="stable"):
        if excess[code] <= 0 or len(found) >= MOST_PLACES:
            break
        found += np.flatnonzero(column.codes == code)[: MOST_PLACES - len(found)].tolist()
    return tuple(found)
