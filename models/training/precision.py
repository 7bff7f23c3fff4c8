"""How the network is run: in bf16 where a GPU can, and compiled where that proves faster."""

import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor, nn

from models.training.plan import TrainingPlan

_TRIAL_STEPS = 6
_CLEARLY_FASTER = 0.95


def autocast(plan: TrainingPlan, device: torch.device) -> AbstractContextManager[Any]:
    """bf16 for matrix products and convolutions where `in_bf16`; needs no gradient scaler."""
    return torch.autocast(device.type, torch.bfloat16) if in_bf16(plan, device) else nullcontext()


def in_bf16(plan: TrainingPlan, device: torch.device) -> bool:
    """
    Whether the plan wants bf16 and the device can be trusted with it.

    Never on a CPU: where a feature map has one pixel, oneDNN 3.12 leaves parts of a strided convolution's gradient
    unwritten, so that they hold whatever the memory held before.
    """
    if device.type != "cuda" or plan.precision == "fp32":
        return False
    return plan.precision == "bf16" or torch.cuda.is_bf16_supported()


def unheeded(plan: TrainingPlan, device: torch.device) -> str:
    """What people should know where the plan insists on bf16 in vain, or ""."""
    if plan.precision != "bf16" or in_bf16(plan, device):
        return ""
    return (
        'train.precision = "bf16" was left out: on a CPU its gradients cannot be trusted, so this job computes in '
        'fp32; "auto" takes bf16 on a GPU alone.'
    )


def compiled(
    model: nn.Module, plan: TrainingPlan, device: torch.device, trial: Callable[[nn.Module], None]
) -> tuple[nn.Module, str]:
    """
    The network compiled, where the plan asks for it or, with "auto" on a GPU, where some steps prove it faster.

    trial: one forward and backward pass of a network, as training will do it; it must leave no trace.
    Returns the network to call, which shares its weights with `model`, and a remark for people, or "".
    """
    if plan.compile == "off" or (plan.compile == "auto" and device.type != "cuda"):
        return model, ""
    try:
        # torch's type for what compile gives is a plain callable; of a module it gives a module.
        candidate: nn.Module = torch.compile(model)  # type: ignore[assignment]
        trial(candidate)
        if plan.compile == "on":
            return candidate, ""
        eager_s, compiled_s = (_seconds(each, device, trial) for each in (model, candidate))
    except Exception as problem:  # noqa: BLE001 - compilers fail in any way; training goes on without
        return model, f"torch.compile failed and was left out: {str(problem).splitlines()[0]}"
    if compiled_s < _CLEARLY_FASTER * eager_s:
        return candidate, f"compiled: {eager_s / compiled_s:.2f} times as fast"
    return model, f"not compiled: {eager_s / compiled_s:.2f} times as fast only"


def to_float(logits: Tensor) -> Tensor:
    """Losses and scores are computed in float32, whatever the network ran in."""
    return logits.float()


def _seconds(model: nn.Module, device: torch.device, trial: Callable[[nn.Module], None]) -> float:
    trial(model)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    began = time.perf_counter()
    for _ in range(_TRIAL_STEPS):
        trial(model)
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter() - began
