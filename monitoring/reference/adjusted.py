"""The reference as it would look with another class prior, and whether a window still differs from it."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitoring.class_prior import gained, priors
from monitoring.watching.batch import Floats

_FEATURES = 256
_TINY = 1e-12


@dataclass(frozen=True)
class Rows:
    """
    What is compared of each answer.

    Attributes:
        outputs: shape (N, C): probabilities, confidence, entropy.
        features: shape (N, F), random Fourier features of the embedding.
        likelihood: shape (N, K), of each row under each class.
    """

    outputs: Floats
    features: Floats
    likelihood: Floats


@dataclass(frozen=True)
class Difference:
    """
    Of a window from a reference, shape (B,) each.

    Attributes:
        outputs: Largest Kolmogorov-Smirnov distance of a column.
        embedding: Squared distance of the mean features (squared MMD with a Gaussian kernel).
    """

    outputs: Floats
    embedding: Floats


def fourier_features(reference: Floats, window: Floats, seed: int = 0) -> tuple[Floats, Floats]:
    """Random Fourier features of both (Rahimi and Recht 2007); the kernel is as wide as reference rows are apart."""
    chance = np.random.default_rng(seed)
    some = reference[chance.permutation(len(reference))[:500]]
    apart = np.sqrt(((some[:, None, :] - some[None, ::5, :]) ** 2).sum(axis=2))
    wide = float(np.median(apart[apart > 0])) if (apart > 0).any() else 1.0
    angles = chance.normal(0.0, 1.0 / wide, (reference.shape[1], _FEATURES // 2))

    def features(rows: Floats) -> Floats:
        turned = rows @ angles
        found: Floats = np.concatenate([np.cos(turned), np.sin(turned)], axis=1) / np.sqrt(_FEATURES // 2)
        return found

    return features(reference), features(window)


def class_weights(prior: Floats, truth: NDArray[np.intp], counts: Floats) -> Floats:
    """
    Shape (B, N): weights of the reference's rows that give it the prior, each row of them summing to 1.

    Args:
        prior: shape (B, K).
        truth: shape (N,), class of each reference row.
        counts: shape (B, N), how often each reference row was drawn.
    """
    members = np.eye(prior.shape[1])[truth]
    of_class = counts @ members
    weights: Floats = counts * (prior / np.maximum(of_class, _TINY))[:, truth]
    weights /= np.maximum(weights.sum(axis=1, keepdims=True), _TINY)
    return weights


def difference(reference: Rows, weights: Floats, window: Rows) -> Difference:
    """Of one window from the weighted reference; weights of shape (N,) summing to 1."""
    together = Rows(*(np.concatenate([getattr(reference, name), getattr(window, name)]) for name in vars(reference)))
    size = len(window.outputs)
    ours = np.concatenate([weights, np.zeros(size)])[None]
    theirs = np.concatenate([np.zeros(len(weights)), np.full(size, 1 / size)])[None]
    return _differences(together, ours, theirs)


@dataclass(frozen=True)
class Drawn:
    """
    What chance alone makes of windows of the reference's own rows with a given prior: B draws.

    Attributes:
        prior: shape (B, K), estimated from each drawn window.
        gain: shape (B,), see `class_prior.gained`: from the drawn reference's prior to the window's.
        plain: Of the drawn window from the drawn reference as it is.
        adjusted: Of the drawn window from the drawn reference with the prior estimated from that window.
    """

    prior: Floats
    gain: Floats
    plain: Difference
    adjusted: Difference


def drawn(
    reference: Rows, truth: NDArray[np.intp], prior: Floats, size: int, draws: int, chance: np.random.Generator
) -> Drawn:
    """
    Draw windows of `size` rows with the prior, and references, from the reference; and do to each what is done to ours.

    The estimate of the prior is part of what is repeated, so that its error is part of what chance explains.
    """
    rows, classes = len(truth), len(prior)
    even = np.ones((1, rows))
    windows = chance.multinomial(size, class_weights(prior[None], truth, even)[0], size=draws).astype(np.float64)
    references = chance.multinomial(rows, np.full(rows, 1 / rows), size=draws).astype(np.float64)
    shares = (references @ np.eye(classes)[truth] + 0.5) / (rows + classes / 2)
    found = priors(reference.likelihood, windows, prior)
    return Drawn(
        prior=found,
        gain=gained(reference.likelihood, windows, shares, found),
        plain=_differences(reference, references / rows, windows / size),
        adjusted=_differences(reference, class_weights(found, truth, references), windows / size),
    )


def p_value(drawn_values: Floats, value: float) -> float:
    """Share of draws that reach the value, the value itself counted as one (Davison and Hinkley 1997, §4.2)."""
    return float((1 + (drawn_values >= value).sum()) / (1 + len(drawn_values)))


def _differences(rows: Rows, ours: Floats, theirs: Floats) -> Difference:
    away = ours - theirs
    moved = away @ rows.features
    largest = np.zeros(len(away))
    for column in rows.outputs.T:
        order = np.argsort(column, kind="stable")
        last_of_ties = np.append(np.diff(column[order]) > 0, True)
        risen = np.cumsum(away[:, order], axis=1)[:, last_of_ties]
        largest = np.maximum(largest, np.abs(risen).max(axis=1))
    return Difference(largest, (moved**2).sum(axis=1))
