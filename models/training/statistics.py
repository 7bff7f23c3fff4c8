"""Means and variances of BatchNorm taken anew, without labels and without training (AdaBN, Li et al. 2017)."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


def renew_statistics(model: nn.Module, batches: Iterable[Tensor]) -> None:
    """
    Running statistics as the plain mean over these batches; everything else runs as it does when it serves.

    batches: normalised images, float32 (N, 3, S, S).
    """
    layers = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.track_running_stats]
    momenta = [layer.momentum for layer in layers]
    model.eval()
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # the plain mean over all batches
        layer.train()
    with torch.no_grad():
        for batch in batches:
            model(batch)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
        layer.eval()
