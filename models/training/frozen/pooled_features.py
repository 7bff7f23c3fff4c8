"""Pooled features of the frozen base: all that a head of one matrix needs, computed once."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import torch
from torch import Tensor, nn

from models.layer_groups import head_parameters
from models.training.frozen.cached_prefix import Parts, encoded, encoder_of, fitting
from models.training.whole_network import WholeNetwork

_MOST_VIEWS = 2  # of each image: the image itself, and an augmented one
_ENOUGH_VIEWS = 4000  # in all: many images vary enough by themselves
_LARGEST_STEP = 0.1  # of a logit, in one update of the head


@dataclass(frozen=True)
class HeadFeatures:
    """
    What the frozen base gives the head.

    Attributes:
        views: float32 (K, N, D): each training image as it is, and K - 1 times augmented.
        select: float32 (M, D).
        classifier: the head, a matrix and a bias on such features.
    """

    views: Tensor
    select: Tensor
    classifier: nn.Linear


def head_features(network: WholeNetwork, run_dir: Path, seed: int) -> HeadFeatures | None:
    """
    Pooled features of the frozen base.

    None where the network's head is more than a matrix on such features, or where they do not fit into memory.
    """
    network.model.eval()
    parts = head_parts(network)
    views = fitting(network, parts.encoder, head_views(network)) if parts else 0
    if not parts or not views:
        return None
    train, select = encoded(network, parts.encoder, views, run_dir, seed)
    return HeadFeatures(
        torch.stack([train.taken(view, slice(None)).float() for view in range(views)]),
        select.taken(0, slice(None)).float(),
        network.model.get_classifier(),  # type: ignore[operator]
    )


def head_factor(network: WholeNetwork, base: float) -> float:
    """
    How much slower than `base` the head should learn, at most 1, judged by some images at the start.

    One step of Adam moves every weight by about the learning rate, so it moves a logit by about the rate times
    the sum of the features' sizes: wide networks with large features need smaller steps.
    """
    probe = network.plain(network.train, slice(0, 64))
    network.model.eval()
    if not head_is_a_matrix(network.model, probe):
        return 1.0
    with torch.no_grad():
        moved = base * float(pooled_features(network.model, probe).abs().sum(dim=1).mean())
    return min(1.0, _LARGEST_STEP / moved) if moved else 1.0


def head_parts(network: WholeNetwork) -> Parts | None:
    """The frozen base and the classifier; None where, in its present mode, the head is more than a matrix."""
    model = network.model
    if not head_is_a_matrix(model, network.plain(network.train, slice(0, 2))):
        return None
    head = set(head_parameters(model))
    weights = {name: tensor for name, tensor in model.state_dict(keep_vars=True).items() if name not in head}
    pooled = partial(pooled_features, model)
    return Parts(encoder_of(network, pooled, weights, "pooled features", "pooled features"), model.get_classifier())  # type: ignore[operator]


def head_views(network: WholeNetwork) -> int:
    varied = network.plan.augmentation != "none" or network.plan.flip
    return min(_MOST_VIEWS, max(1, _ENOUGH_VIEWS // len(network.train))) if varied else 1


def pooled_features(model: nn.Module, images: Tensor) -> Tensor:
    """The network's features just before its classifier, shape (N, D); the embedding that serving logs."""
    features: Tensor = model.forward_head(model.forward_features(images), pre_logits=True)  # type: ignore[operator]
    return features


def head_is_a_matrix(model: nn.Module, probe: Tensor) -> bool:
    """
    Whether the classifier on pooled features gives what the whole network gives in its present mode.

    Some heads do more; and in training, dropout may lie between.
    """
    classifier = model.get_classifier() if hasattr(model, "get_classifier") else None  # type: ignore[operator]
    if not isinstance(classifier, nn.Linear):
        return False
    before = {name: tensor.clone() for name, tensor in classifier.state_dict().items()}
    try:
        with torch.no_grad(), torch.autocast(probe.device.type, enabled=False):
            # A new head may be all zero, and would agree with anything.
            rows = torch.arange(classifier.weight.numel(), device=probe.device).view_as(classifier.weight)
            classifier.weight.copy_(torch.sin(rows))
            features, whole = pooled_features(model, probe), model(probe)
            return features.ndim == 2 and torch.allclose(classifier(features), whole, rtol=1e-4, atol=1e-4)  # noqa: PLR2004
    finally:
        classifier.load_state_dict(before)
