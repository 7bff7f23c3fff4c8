"""How good the weights are on the *select* images: what decides when to stop and what to keep."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class SelectScore:
    """Mean of the classes' recall, share right, and mean cross-entropy; classes without images do not count."""

    macro_recall: float
    accuracy: float
    loss: float


def select_score(logits: Tensor, labels: Tensor) -> SelectScore:
    """logits: shape (N, C); labels: shape (N,), class numbers."""
    right = (logits.argmax(dim=1) == labels).double()
    images = torch.bincount(labels, minlength=logits.shape[1]).double()
    hits = torch.bincount(labels, weights=right, minlength=logits.shape[1])
    present = images > 0
    return SelectScore(
        macro_recall=float((hits[present] / images[present]).mean()),
        accuracy=float(right.mean()),
        loss=float(functional.cross_entropy(logits.float(), labels)),
    )
