"""Images through the whole network: what every stage can do, and what cheaper ways are measured against."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.images import Pixels
from models.preprocessing import Preprocessing, scale_and_offset
from models.training.plan import TrainingPlan
from models.training.run_folder import RunExample
from models.training.varied.augmentation import augment
from models.training.varied.mixing import mix

_AT_ONCE = 64  # images in a forward pass without gradients: what a CPU's caches like best
_AT_ONCE_ON_GPU = 256


@dataclass(frozen=True)
class LabelledPixels:
    """
    The images of one role.

    Attributes:
        pixels: uint8 (M, S, S, 3) of all roles, on disk.
        rows: which of them are of this role, shape (N,).
        labels: class numbers, shape (N,).
        weights: of the loss, mean 1, shape (N,).
    """

    pixels: Pixels
    rows: NDArray[np.int64]
    labels: Tensor
    weights: Tensor

    def __len__(self) -> int:
        return len(self.rows)

    def taken(self, numbers: NDArray[np.int64] | slice) -> Pixels:
        """A copy in memory of some images, in the order asked for."""
        return np.ascontiguousarray(self.pixels[self.rows[numbers]])


@dataclass(frozen=True)
class Forward:
    """
    What the network says of a batch of training images.

    Attributes:
        logits: shape (N, C).
        partner: position in the batch of the image that was mixed in, shape (N,); None where nothing was mixed.
        share: of the own label, 0..1, shape (N,).
    """

    logits: Tensor
    partner: Tensor | None = None
    share: Tensor | None = None


class Source(Protocol):
    """Gives a stage its logits, for training batches and for the whole of *select*."""

    def train_forward(self, numbers: Tensor, generator: torch.Generator) -> Forward: ...

    def select_logits(self) -> Tensor: ...


def of_role(
    pixels: Pixels, examples: Sequence[RunExample], role: str, classes: Sequence[str], device: torch.device
) -> LabelledPixels:
    """The images of one role among all; `pixels` are in the examples' order."""
    rows = [row for row, example in enumerate(examples) if example.role == role]
    weights = torch.tensor([examples[row].weight for row in rows])
    number_of = {name: number for number, name in enumerate(classes)}
    labels = torch.tensor([number_of[examples[row].label] for row in rows])
    return LabelledPixels(
        pixels, np.array(rows, dtype=np.int64), labels.to(device), (weights / weights.mean()).to(device)
    )


@dataclass(frozen=True)
class WholeNetwork:
    """
    Every image, augmented afresh, through every layer.

    Attributes:
        forward: what is called with training images where that is not the network itself but, say, its compiled form.
    """

    model: nn.Module
    train: LabelledPixels
    select: LabelledPixels
    plan: TrainingPlan
    preprocessing: Preprocessing
    forward: Callable[[Tensor], Tensor] | None = None

    @property
    def device(self) -> torch.device:
        return self.train.labels.device

    def train_forward(self, numbers: Tensor, generator: torch.Generator) -> Forward:
        images = self.varied(numbers.numpy(), generator)
        images, partner, share = mix(images, generator, self.plan.mixup, self.plan.cutmix)
        return Forward((self.model if self.forward is None else self.forward)(images), partner, share)

    def select_logits(self) -> Tensor:
        self.model.eval()
        with torch.no_grad():
            parts = pieces(len(self.select), self.device)
            return torch.cat([self.model(self.plain(self.select, numbers)) for numbers in parts])

    def varied(self, numbers: NDArray[np.int64] | slice, generator: torch.Generator) -> Tensor:
        """Training images, augmented and normalised: float32 (N, 3, S, S)."""
        batch = _on(self.device, self.train.taken(numbers))
        return self._normalised(augment(batch, self.plan.augmentation, generator, flip=self.plan.flip))

    def plain(self, images: LabelledPixels, numbers: NDArray[np.int64] | slice) -> Tensor:
        """Images exactly as serving will see them: float32 (N, 3, S, S)."""
        return self._normalised(_on(self.device, images.taken(numbers)).permute(0, 3, 1, 2).float())

    def _normalised(self, images: Tensor) -> Tensor:
        scale, offset = (
            torch.from_numpy(values).to(images.device).view(1, 3, 1, 1)
            for values in scale_and_offset(self.preprocessing)
        )
        return (images * scale + offset).contiguous(memory_format=torch.channels_last)


def pieces(count: int, device: torch.device) -> list[slice]:
    """So many images in parts that suit a forward pass without gradients."""
    step = _AT_ONCE_ON_GPU if device.type == "cuda" else _AT_ONCE
    return [slice(start, min(start + step, count)) for start in range(0, count, step)]


def _on(device: torch.device, batch: Pixels) -> Tensor:
    """A batch of bytes on a device; a GPU fetches it from pinned memory while it still works on the last one."""
    there = torch.from_numpy(batch)
    return there.pin_memory().to(device, non_blocking=True) if device.type == "cuda" else there
