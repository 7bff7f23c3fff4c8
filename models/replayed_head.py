"""A head fitted anew to embeddings that were logged: what a retrain could have made of the labels of a moment."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from models.temperature import best_temperature
from models.training.head_fit import fit_head

Floats = NDArray[np.float64]
_LEAST_CLASSES = 2


@dataclass(frozen=True)
class LinearHead:
    """
    A classifier's last matrix, divided by its temperature.

    Attributes:
        weight: (C, D).
        bias: (C,).
    """

    weight: Floats
    bias: Floats

    def probabilities(self, embedding: NDArray[np.floating]) -> Floats:
        """Shape (N, C), of embeddings (N, D); rows that are not numbers stay so."""
        logits = embedding @ self.weight.T + self.bias
        grown = np.exp(logits - logits.max(axis=1, keepdims=True))
        shares: Floats = grown / grown.sum(axis=1, keepdims=True)
        return shares


def fit_linear_head(
    features: NDArray[np.floating],
    labels: NDArray[np.int64],
    select_features: NDArray[np.floating],
    select_labels: NDArray[np.int64],
    classes: int,
) -> LinearHead | None:
    """
    The head that the first stage of training fits (`models.training.head_fit`), on the same kind of split, and with
    the temperature that export would give it.

    Args:
        features: (N, D), of images that train.
        labels: (N,), class numbers.
        select_features: (M, D), of images that choose how strongly the head is restrained, and its temperature; where
            there is none, those that train choose themselves.
        select_labels: (M,).
        classes: how many there are, with images or without.

    Returns:
        None where the images show fewer than two classes: nothing can be told apart by them.
    """
    if len(np.unique(labels)) < _LEAST_CLASSES:
        return None
    if not len(select_labels):
        select_features, select_labels = features, labels
    fitted = fit_head(
        _tensor(features),
        torch.from_numpy(labels),
        torch.ones(len(labels)),
        _tensor(select_features),
        torch.from_numpy(select_labels),
        classes,
        "macro_recall",
    )
    weight, bias = fitted.weight.double().numpy(), fitted.bias.double().numpy()
    # As at export: the gate compares how honest the two models' confidences are.
    temperature = best_temperature(select_features @ weight.T + bias, select_labels)
    return LinearHead(weight / temperature, bias / temperature)


def _tensor(features: NDArray[np.floating]) -> torch.Tensor:
    return torch.from_numpy(np.ascontiguousarray(features, dtype=np.float64))
