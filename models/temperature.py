"""The temperature that makes a model's confidence honest."""

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from torch.nn import functional

# Below the first a temperature would turn guesses into certainties; nothing sensible lies outside.
_COLDEST, _HOTTEST = 0.2, 10.0


def best_temperature(logits_found: NDArray[np.floating], labels: NDArray[np.int64]) -> float:
    """
    The temperature with the least cross-entropy on *select* (Guo et al. 2017); 1 where none is better.

    The targets are smoothed as Platt (1999) does: without an error among a few hundred images the best temperature
    would be as cold as allowed, and the model certain of everything.
    """
    logits, truth = torch.from_numpy(logits_found), torch.from_numpy(labels)
    # What is taken from the label, 1 of N + 2, torch spreads over all classes, the label's own among them.
    classes = logits.shape[1]
    smoothing = classes / (max(1, classes - 1) * (len(labels) + 2))

    def loss(log_temperature: float) -> float:
        scaled = logits / float(np.exp(log_temperature))
        return float(functional.cross_entropy(scaled, truth, label_smoothing=min(0.5, smoothing)))

    found = minimize_scalar(loss, bounds=(float(np.log(_COLDEST)), float(np.log(_HOTTEST))), method="bounded")
    return float(np.exp(found.x)) if found.fun < loss(0.0) else 1.0
