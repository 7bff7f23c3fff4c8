"""One optimizer for all parameters, built once; what is frozen has no gradient and keeps its statistics."""

from collections.abc import Sequence

import torch
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from infra.errors import UserError
from models.layer_groups import LayerGroup, norm_parameters
from models.training.stages import Stage

# Below this a batch says too little about mean and variance; the running statistics are the better guess.
_LEAST_BATCH_FOR_STATISTICS = 16


def build_optimizer(
    model: nn.Module, groups: Sequence[LayerGroup], weight_decay: float, *, fused: bool = False
) -> torch.optim.AdamW:
    """
    AdamW with two parameter groups for each layer group: matrices, which decay, and vectors, which do not.

    Its groups never change, so its state can be resumed at any stage; each knows its `layer_group`.
    fused: one kernel for all; faster on a GPU, and rounds differently from machine to machine.
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
    return torch.optim.AdamW(entries, lr=0.0, fused=fused)


def trainable_names(model: nn.Module, groups: Sequence[LayerGroup], stage: Stage) -> tuple[str, ...]:
    """
    The parameters that train in a stage.

    Raises:
        UserError: there are none, in a stage that is to train some.
    """
    names = {name for index in stage.groups for name in groups[index].parameters}
    if stage.norms:
        names |= set(norm_parameters(model))
    if stage.groups and not names:
        raise UserError(f"stage {stage.name!r} has no parameter to train; choose another train.strategy")
    return tuple(name for name, _ in model.named_parameters() if name in names)


def set_trainable(model: nn.Module, names: Sequence[str]) -> None:
    """Open these parameters and close the others: AdamW leaves alone what has no gradient, decay and all."""
    chosen = set(names)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name in chosen)
        parameter.grad = None


def set_mode(model: nn.Module, batch_images: int) -> None:
    """
    Training mode for what trains, evaluation mode for every module all of whose parameters are frozen.

    To be called each epoch: a plain `train()` would wake the frozen BatchNorm layers again, whose statistics
    then drift although nothing in them has a gradient. Dropout inside a frozen block sleeps with its block.
    """
    model.train()
    for module in model.modules():
        own = list(module.parameters())
        frozen = own and not any(parameter.requires_grad for parameter in own)
        few = isinstance(module, _BatchNorm) and batch_images < _LEAST_BATCH_FOR_STATISTICS
        if frozen or few:
            module.eval()


def assert_frozen(model: nn.Module) -> None:
    """After a backward pass: all that trains has a gradient, and nothing that is frozen has one."""
    assert any(parameter.grad is not None for parameter in model.parameters() if parameter.requires_grad)
    assert all(parameter.grad is None for parameter in model.parameters() if not parameter.requires_grad)


def has_batch_norm(model: nn.Module) -> bool:
    """Whether the network keeps running means and variances."""
    return any(isinstance(module, _BatchNorm) and module.track_running_stats for module in model.modules())
