"""Whether a network in two parts gives what it gives in one: logits, and gradients as it trains."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

_TOLERANCE = 1e-4


class _DifferentError(Exception):
    pass


def difference(
    model: nn.Module, prefix: Callable[[Tensor], Tensor], suffix: Callable[[Tensor], Tensor], probe: Tensor
) -> str:
    """
    Where the parts and the whole differ, in words; empty where they do not.

    model: in the mode in which it trains, what trains requiring gradients; it is left as it was.
    probe: images, (N, 3, S, S) with N at least 3.
    """
    try:
        with untouched(model):
            _same_in_training(model, prefix, suffix, probe)
        with untouched(model):
            model.eval()
            _same_in_evaluation(model, prefix, suffix, probe)
    except _DifferentError as problem:
        return str(problem)
    except Exception as problem:  # noqa: BLE001 - what was traced for other images may fail in any way
        return f"the two parts cannot be run ({type(problem).__name__}: {problem})"
    return ""


@contextmanager
def untouched(model: nn.Module) -> Iterator[None]:
    """Modes, statistics and random numbers as they were before, whatever is tried."""
    modes = {module: module.training for module in model.modules()}
    buffers = [(buffer, buffer.detach().clone()) for buffer in model.buffers()]
    with torch.random.fork_rng(devices=sorted({each.device.index for each in model.parameters() if each.is_cuda})):
        try:
            yield
        finally:
            for module, training in modes.items():
                module.training = training
            for buffer, before in buffers:
                buffer.data.copy_(before)


def _same_in_evaluation(
    model: nn.Module, prefix: Callable[[Tensor], Tensor], suffix: Callable[[Tensor], Tensor], probe: Tensor
) -> None:
    with torch.no_grad():
        for images in (probe, probe[:-1]):
            _same(suffix(prefix(images)), model(images), f"the logits of {len(images)} images")


def _same_in_training(
    model: nn.Module, prefix: Callable[[Tensor], Tensor], suffix: Callable[[Tensor], Tensor], probe: Tensor
) -> None:
    modes = [(module, module.training) for module in model.modules()]
    with torch.no_grad():
        given = prefix(probe)
        if not isinstance(given, Tensor) or len(given) != len(probe):
            raise _DifferentError("what passes the frontier is no tensor with a row for each image")
        model.eval()
        _same(prefix(probe), given, "what passes the frontier in evaluation and in training")
    for module, training in modes:
        module.training = training
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    found, expected = _learning(suffix, given, parameters), _learning(model, probe, parameters)
    for ours, whole in zip(found, expected, strict=True):
        _same(ours, whole, "logits or gradients in training")


def _learning(forward: Callable[[Tensor], Tensor], given: Tensor, parameters: Sequence[Tensor]) -> list[Tensor]:
    """
    Logits in training, and the gradients of something made of them; with the same chance at every call.

    A new head says 0 to everything; its gradient still shows what it was told.
    """
    torch.manual_seed(0)
    logits = forward(given)
    gradients = torch.autograd.grad((logits - 1).square().mean(), parameters, allow_unused=True)
    return [logits, *(torch.zeros(()) if gradient is None else gradient for gradient in gradients)]


def _same(found: Tensor, expected: Tensor, what: str) -> None:
    if found.shape != expected.shape:
        raise _DifferentError(f"{what}: of shape {tuple(found.shape)} in two parts, {tuple(expected.shape)} in one")
    scale = max(1.0, float(expected.detach().abs().max()))
    apart = float((found - expected).detach().abs().max())
    if not apart <= _TOLERANCE * scale:
        raise _DifferentError(f"{what}: {apart:.2g} apart in two parts and in one")
