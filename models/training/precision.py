"""How the network is run: in bf16 where the device can, and compiled where that proves faster."""

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
    """
    bf16 for matrix products and convolutions where the plan and the device want it; needs no gradient scaler.

    On a CPU only where the plan says so: few have the instructions, and fp32 resumes to the bit.
    """
    wanted = plan.precision == "bf16" or (
        plan.precision == "auto" and device.type == "cuda" and torch.cuda.is_bf16_supported()
    )
    return torch.autocast(device.type, torch.bfloat16) if wanted else nullcontext()


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
