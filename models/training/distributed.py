"""Several processes, one training: started by torchrun, each with its GPU, or with gloo on CPUs."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel

from infra.errors import UserError

Told = TypeVar("Told")


@dataclass(frozen=True)
class Ranks:
    """How many processes train together, and which of them this is; the first writes and decides."""

    rank: int = 0
    size: int = 1

    @property
    def first(self) -> bool:
        return self.rank == 0

    @property
    def several(self) -> bool:
        return self.size > 1

    def share(self, batch: Tensor) -> Tensor:
        """This process's part of a batch of image numbers; parts differ by one image at most."""
        return batch.tensor_split(self.size)[self.rank]

    def told(self, decide: Callable[[], Told]) -> Told:
        """
        What the first process finds, in all of them.

        Clocks and roundings differ; two processes that decide apart wait for each other for ever.
        """
        if not self.several:
            return decide()
        box: list[Told | None] = [decide() if self.first else None]
        distributed.broadcast_object_list(box, src=0)
        return box[0]  # type: ignore[return-value] # the first process's, which is a Told

    def summed(self, value: Tensor) -> Tensor:
        """Over all processes: what one of them alone noticed, the others would wait for."""
        if not self.several:
            return value
        total = value.clone()
        distributed.all_reduce(total)
        return total

    def same_everywhere(self, model: nn.Module) -> None:
        """Weights and statistics of the first process in all of them."""
        if self.several:
            for tensor in model.state_dict().values():
                distributed.broadcast(tensor, src=0)

    def wrapped(self, model: nn.Module) -> nn.Module:
        """
        The network with gradients averaged over the processes; to be wrapped anew whenever what trains changes.

        What was frozen when it was wrapped is never averaged, without a word (Lightning #20340).
        """
        if not self.several or not any(parameter.requires_grad for parameter in model.parameters()):
            return model
        return DistributedDataParallel(model)


@contextmanager
def joined(device_wish: str) -> Iterator[tuple[Ranks, torch.device]]:
    """
    This process's place among those that torchrun started, and its device; alone where there are no others.

    Raises:
        UserError: a GPU is asked for and there is none, or there are fewer than processes.
    """
    size = int(os.environ.get("WORLD_SIZE", "1"))
    device = _device(device_wish, int(os.environ.get("LOCAL_RANK", "0")))
    if size == 1:
        yield Ranks(), device
        return
    distributed.init_process_group("nccl" if device.type == "cuda" else "gloo")
    try:
        yield Ranks(distributed.get_rank(), distributed.get_world_size()), device
    finally:
        distributed.destroy_process_group()


def _device(wish: str, local_rank: int) -> torch.device:
    there = torch.cuda.device_count() if wish != "cpu" else 0
    if wish == "cuda" and not there:
        raise UserError('train.device is "cuda" and torch sees no CUDA device here; set it to "auto" or "cpu"')
    if not there:
        return torch.device("cpu")
    if local_rank >= there:
        raise UserError(f"process {local_rank + 1} of this training finds only {there} GPUs; lower train.devices")
    torch.cuda.set_device(local_rank)
    return torch.device("cuda", local_rank)
