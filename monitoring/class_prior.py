"""The class prior of unlabelled answers: maximum likelihood under label shift, from calibrated probabilities."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax

from monitoring.watching.batch import Floats

_LEAST_PROBABILITY = 1e-7
_MOST_STEPS, _STILL = 300, 1e-5
# Pulls the calibration towards "as it is": worth a handful of images, so that a rare class cannot run away.
_RIDGE = 2.0


@dataclass(frozen=True)
class Calibration:
    """
    Temperature and one bias a class (Alexandari, Kundaje and Shrikumar 2020, "bias-corrected temperature scaling").

    Without the biases maximum likelihood would answer the classifier's own leaning with a shifted prior.
    """

    slope: float
    bias: Floats

    def apply(self, probabilities: Floats) -> Floats:
        """Calibrated probabilities, shape (N, K)."""
        calibrated: Floats = np.exp(log_softmax(self.slope * _logs(probabilities) + self.bias, axis=1))
        return calibrated


def calibration(probabilities: Floats, truth: NDArray[np.intp]) -> Calibration:
    """
    Fitted to labelled answers.

    Args:
        probabilities: shape (N, K), finite.
        truth: shape (N,), the column of each row's true class.
    """
    logs, size = _logs(probabilities), len(truth)
    told = np.zeros_like(logs)
    told[np.arange(size), truth] = 1.0

    def loss(given: Floats) -> tuple[float, Floats]:
        said = log_softmax(given[0] * logs + given[1:], axis=1)
        away = np.exp(said) - told
        value = -(said * told).sum() + _RIDGE / 2 * ((given[0] - 1) ** 2 + (given[1:] ** 2).sum())
        slope = np.concatenate([[(away * logs).sum() + _RIDGE * (given[0] - 1)], away.sum(0) + _RIDGE * given[1:]])
        return float(value / size), slope / size

    start = np.concatenate([[1.0], np.zeros(logs.shape[1])])
    bounds = [(0.05, 10.0), *[(-10.0, 10.0)] * logs.shape[1]]
    found = minimize(loss, start, jac=True, method="L-BFGS-B", bounds=bounds, options={"maxiter": 200})
    return Calibration(float(found.x[0]), np.asarray(found.x[1:], dtype=np.float64))


def priors(likelihood: Floats, weights: Floats, start: Floats) -> Floats:
    """
    Several priors at once, shape (B, K), by expectation maximisation (Saerens, Latinne and Decaestecker 2002).

    The likelihood is concave in the prior, so that where it ends does not depend on where it begins, unless classes
    cannot be told apart at all: then their sum is right, and it stays shared out as at the start.

    Args:
        likelihood: shape (N, K), of each row under each class, up to a factor a row.
        weights: shape (B, N), how often each row counts; a row of B is one sample.
        start: shape (K,), positive.
    """
    total = np.maximum(weights.sum(axis=1, keepdims=True), 1e-12)
    found = np.tile(start / start.sum(), (len(weights), 1))
    for _ in range(_MOST_STEPS):
        mixture = np.maximum(found @ likelihood.T, 1e-300)
        after = found * ((weights / mixture) @ likelihood) / total
        after /= np.maximum(after.sum(axis=1, keepdims=True), 1e-300)
        moved = float(np.abs(after - found).max(initial=0.0))
        found = after
        if moved < _STILL:
            break
    return found


def gained(likelihood: Floats, weights: Floats, before: Floats, after: Floats) -> Floats:
    """Shape (B,): by how much each row's logarithm of likelihood grows on average from prior `before` to `after`."""
    ratio = np.maximum(after @ likelihood.T, 1e-300) / np.maximum(before @ likelihood.T, 1e-300)
    grown: Floats = (weights * np.log(ratio)).sum(axis=1) / np.maximum(weights.sum(axis=1), 1e-12)
    return grown


def _logs(probabilities: Floats) -> Floats:
    logs: Floats = np.log(np.clip(probabilities, _LEAST_PROBABILITY, 1.0))
    return logs
