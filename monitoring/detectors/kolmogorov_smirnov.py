"""Numbers compared by their cumulative shares: the two-sample Kolmogorov-Smirnov test, one sort of the window each."""

from collections.abc import Sequence

import numpy as np
from scipy.stats import kstwo

from monitoring.detectors.columns import Numbers
from monitoring.detectors.detection import Detection, highest_places, holm
from monitoring.watching.batch import Floats


def compare(columns: Sequence[Numbers]) -> list[Detection]:
    """A detection for each column that both sides have, their p-values corrected for each other."""
    comparable = [column for column in columns if column.comparable]
    found = [_compared(column) for column in comparable]
    p_values = holm([p_value(distance, column) for column, (distance, _, _) in zip(comparable, found, strict=True)])
    return [
        Detection(
            family=column.family,
            name=column.name,
            statistic=distance,
            effect=distance,
            p_value=p,
            places=highest_places(-column.window if below else column.window),
            reference=float(column.sorted_reference.mean(dtype=np.float64)),
            window=float(column.sorted_window.mean(dtype=np.float64)),
        )
        for column, (distance, _, below), p in zip(comparable, found, p_values, strict=True)
    ]


def distance_of(reference: Floats, window: Floats) -> tuple[float, float, bool]:
    """
    The largest difference of the cumulative shares of two sorted samples, where it is, and whether the window lies low.

    Between two neighbouring values of the reference its own share stands still and the window's only rises, so the
    largest difference is next to a value of the reference: a million rows need their sort and a few thousand looks.
    """
    at, below = np.searchsorted(window, reference, side="right"), np.searchsorted(window, reference, side="left")
    mine_at = np.searchsorted(reference, reference, side="right") / len(reference)
    mine_below = np.searchsorted(reference, reference, side="left") / len(reference)
    differences = np.concatenate([at / len(window) - mine_at, below / len(window) - mine_below])
    place = int(np.abs(differences).argmax())
    return abs(float(differences[place])), float(reference[place % len(reference)]), bool(differences[place] > 0)


def p_value(distance: float, column: Numbers) -> float:
    """Of the column's distance, by the one-sample law at the harmonic sample size; with ties it is too high."""
    first, second = len(column.sorted_reference), len(column.sorted_window)
    return float(kstwo.sf(distance, max(1, round(first * second / (first + second)))))


def _compared(column: Numbers) -> tuple[float, float, bool]:
    return distance_of(column.sorted_reference, column.sorted_window)
