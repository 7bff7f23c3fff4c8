"""A running mean of the weights (EMA): smoother than any single step, and often better."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

_WARM_UP = 10.0


class RunningMean:
    """
    The mean of a network's weights and statistics, the latest counting most.

    It warms up as min(decay, (1 + t) / (10 + t)): otherwise the weights of the first steps would be in it for
    thousands of updates.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.decay = decay
        self.updates = 0
        self.weights = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}

    @torch.no_grad()
    def take_in(self, model: nn.Module) -> None:
        """Follow the model by one update."""
        self.updates += 1
        keep = min(self.decay, (1 + self.updates) / (_WARM_UP + self.updates))
        for name, tensor in model.state_dict().items():
            if tensor.is_floating_point():
                self.weights[name].lerp_(tensor, 1 - keep)
            else:
                self.weights[name].copy_(tensor)

    @contextmanager
    def in_place(self, model: nn.Module) -> Iterator[None]:
        """The model with the mean's weights; with its own again afterwards."""
        own = {name: tensor.detach().clone() for name, tensor in model.state_dict().items()}
        model.load_state_dict(self.weights)
        try:
            yield
        finally:
            model.load_state_dict(own)

    def begin_again(self, model: nn.Module) -> None:
        """From the model's present weights, as at the beginning of a stage."""
        self.updates = 0
        for name, tensor in model.state_dict().items():
            self.weights[name].copy_(tensor)

    def state(self) -> dict[str, object]:
        """For a checkpoint."""
        return {"updates": self.updates, "weights": self.weights}

    def restore(self, state: dict[str, object]) -> None:
        """What `state` gave."""
        weights = state["weights"]
        assert isinstance(weights, dict)
        self.updates = int(str(state["updates"]))
        for name, tensor in weights.items():
            self.weights[name].copy_(tensor)


def interpolated(start: dict[str, Tensor], end: dict[str, Tensor], share: float) -> dict[str, Tensor]:
    """
    Weights between two networks (WiSE-FT, Wortsman et al. 2022): share 0 gives start, 1 gives end.

    Counters, and tensors that start does not have in this shape (a head with new classes), are taken from end.
    """
    return {
        name: torch.lerp(start[name], tensor, share)
        if tensor.is_floating_point() and name in start and start[name].shape == tensor.shape
        else tensor
        for name, tensor in end.items()
    }
