"""One optimizer for all parameters, built once; what is frozen has no gradient and keeps its statistics."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from infra.errors import UserError
from models.backbone import LayerGroup
from models.training.stages import Stage

# Below this a batch says too little about mean and variance; the running statistics are the better guess.
_LEAST_BATCH_FOR_STATISTICS = 16


def build_optimizer(model: nn.Module, groups: Sequence[LayerGroup], weight_decay: float) -> torch.optim.AdamW:
    """
    AdamW with two parameter groups for each layer group: matrices, which decay, and vectors, which do not.

    Its groups never change, so its state can be resumed at any stage; each knows its `layer_group`.
    """
    parameters = dict(model.named_parameters())
    entries = []
    for index, group in enumerate(groups):
        members = [parameters[name] for name in group.parameters]
        for decay, chosen in (
            (weight_decay, [member for member in members if member.ndim > 1]),
            (0.0, [member for member in members if member.ndim <= 1]),
        ):
            if chosen:
                entries.append({"params": chosen, "weight_decay": decay, "layer_group": index})
    # The fused kernel rounds differently from machine to machine.
    return torch.optim.AdamW(entries, lr=0.0, fused=False)


def set_trainable(model: nn.Module, groups: Sequence[LayerGroup], stage: Stage) -> None:
    """
    Open this stage's groups and close the others: AdamW leaves alone what has no gradient, decay and all.

    Raises:
        UserError: nothing would train.
    """
    parameters = dict(model.named_parameters())
    for index, group in enumerate(groups):
        for name in group.parameters:
            parameters[name].requires_grad_(index >= stage.first_group)
            parameters[name].grad = None
    if not any(parameter.requires_grad for parameter in parameters.values()):
        raise UserError(f"stage {stage.name!r} has no parameter to train; choose another train.strategy")


def set_mode(model: nn.Module, batch_images: int) -> None:
    """
    Training mode for what trains, evaluation mode for every module all of whose parameters are frozen.

    To be called each epoch: a plain `train()` would wake the frozen BatchNorm layers again, whose statistics
    then drift although nothing in them has a gradient.
    """
    model.train()
    for module in model.modules():
        own = list(module.parameters())
        frozen = own and not any(parameter.requires_grad for parameter in own)
        few = isinstance(module, _BatchNorm) and batch_images < _LEAST_BATCH_FOR_STATISTICS
        if frozen or few:
            module.eval()


def assert_frozen(model: nn.Module) -> None:
    """After a backward pass: something has a gradient, and nothing that is frozen has one."""
    assert any(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)
    assert all(parameter.grad is None for parameter in model.parameters() if not parameter.requires_grad)
