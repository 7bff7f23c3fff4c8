"""How others decide that a window has shifted: Failing Loudly's tests and Evidently's default rules, as they are."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2_contingency, ks_2samp, wasserstein_distance

Floats = NDArray[np.float64]

ALPHA = 0.05
_LARGE_REFERENCE = 1_000  # beyond it Evidently takes distances instead of tests
_LEAST_DISTANCE, _LEAST_SHARE = 0.1, 0.5
_LEAST_FOR_LIMIT = 50
_FEATURES, _PERMUTATIONS = 128, 100


def soft_outputs(reference: Floats, window: Floats) -> bool:
    """BBSDs: KS for each class's probability, Bonferroni over the classes."""
    # All classes have one sample size, so the largest distance has the smallest p-value.
    tests = [_distance(reference[:, index], window[:, index]) for index in range(reference.shape[1])]
    most = int(np.argmax(tests))
    p_value = ks_2samp(reference[:, most], window[:, most]).pvalue
    return bool(p_value * reference.shape[1] <= ALPHA)


def hard_outputs(reference: Floats, window: Floats) -> bool:
    """BBSDh: a chi-square test of the predicted classes."""
    classes = reference.shape[1]
    counts = [np.bincount(side.argmax(axis=1), minlength=classes) for side in (reference, window)]
    table = np.array(counts)[:, np.sum(counts, axis=0) > 0]
    return bool(table.shape[1] > 1 and chi2_contingency(table, correction=False).pvalue <= ALPHA)


def kernel(reference: Floats, window: Floats, chance: np.random.Generator) -> bool:
    """MMD on the embedding, by random features of a Gaussian kernel, with 100 permutations."""
    rows = np.vstack([reference, window])
    some = rows[chance.choice(len(rows), min(len(rows), 200), replace=False)]
    apart = np.sqrt(((some[:, None] - some[None]) ** 2).sum(axis=2))
    turned = rows @ chance.normal(0, 1 / (np.median(apart[apart > 0]) or 1.0), (rows.shape[1], _FEATURES))
    features = np.hstack([np.cos(turned), np.sin(turned)])
    deal = chance.random((_PERMUTATIONS, len(rows))).argsort(axis=1) < len(window)
    deal = np.vstack([np.arange(len(rows)) >= len(reference), deal])
    signs = np.where(deal, 1 / len(window), -1 / len(reference))
    squared = ((signs @ features) ** 2).sum(axis=1)
    return bool((squared >= squared[0]).mean() <= ALPHA)


def evidently(reference: Floats, window: Floats) -> tuple[bool, bool]:
    """Evidently's defaults for numeric columns: whether any has drifted, and whether half of them have."""
    if len(reference) <= _LARGE_REFERENCE:
        # The exact law of unequal sizes takes seconds for a table, and decides as its limit does from here on.
        law = "auto" if len(window) < _LEAST_FOR_LIMIT else "asymp"
        drifted = [ks_2samp(*pair, method=law).pvalue <= ALPHA for pair in _columns(reference, window)]
    else:
        drifted = [
            wasserstein_distance(ours, theirs) / max(float(np.std(ours)), 0.001) >= _LEAST_DISTANCE
            for ours, theirs in _columns(reference, window)
        ]
    return any(drifted), bool(np.mean(drifted) >= _LEAST_SHARE)


def _columns(reference: Floats, window: Floats) -> Sequence[tuple[Floats, Floats]]:
    return list(zip(reference.T, window.T, strict=True))


def _distance(reference: Floats, window: Floats) -> float:
    ours, theirs = np.sort(reference), np.sort(window)
    places = np.concatenate([ours, theirs])
    below = np.searchsorted(ours, places, side="right") / len(ours)
    return float(np.abs(below - np.searchsorted(theirs, places, side="right") / len(theirs)).max())
