"""Where a stage's batches come from: images through the whole network, or cached features through its head."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from models.images import Pixels, Preprocessing, normalise, scale_and_offset
from models.training.augmentation import augment
from models.training.cache import encode, head_can_be_cached
from models.training.plan import TrainingPlan
from models.training.run_folder import RunExample

_AT_ONCE = 256  # images in a forward pass without gradients
_MOST_VIEWS = 4  # of each image in the head's cache: the image itself, and augmented ones
_LARGEST_STEP = 0.1  # of a logit, in one update of the head
_ENOUGH_VIEWS = 4000  # in all: many images vary enough by themselves


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


class Source(Protocol):
    """Gives a stage its logits, for training batches and for the whole of *select*."""

    def train_logits(self, numbers: Tensor, generator: torch.Generator) -> Tensor: ...

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
    """Every image, augmented afresh, through every layer."""

    model: nn.Module
    train: LabelledPixels
    select: LabelledPixels
    plan: TrainingPlan
    preprocessing: Preprocessing

    def train_logits(self, numbers: Tensor, generator: torch.Generator) -> Tensor:
        logits: Tensor = self.model(self.varied(numbers.numpy(), generator))
        return logits

    def select_logits(self) -> Tensor:
        self.model.eval()
        with torch.no_grad():
            return torch.cat(self._plain(self.select, self.model))

    def varied(self, numbers: NDArray[np.int64] | slice, generator: torch.Generator) -> Tensor:
        """Training images, augmented and normalised: float32 (N, 3, S, S)."""
        batch = torch.from_numpy(self.train.taken(numbers)).to(self.train.labels.device)
        images = augment(batch, self.plan.augmentation, generator, flip=self.plan.flip)
        scale, offset = (
            torch.from_numpy(values).to(images.device).view(1, 3, 1, 1)
            for values in scale_and_offset(self.preprocessing)
        )
        return (images * scale + offset).contiguous(memory_format=torch.channels_last)

    def plain(self, images: LabelledPixels, numbers: slice) -> Tensor:
        """Images exactly as serving will see them: float32 (N, 3, S, S)."""
        batch = normalise(images.taken(numbers), self.preprocessing)
        return torch.from_numpy(batch).to(images.labels.device, memory_format=torch.channels_last)

    def _plain(self, images: LabelledPixels, forward: Callable[[Tensor], Tensor]) -> list[Tensor]:
        return [forward(self.plain(images, numbers)) for numbers in _pieces(len(images))]


@dataclass(frozen=True)
class CachedHead:
    """
    Features of the frozen base, computed once, through the classifier.

    Attributes:
        views: float32 (K, N, D): each training image as it is, and K - 1 times augmented.
        select: float32 (M, D).
    """

    classifier: nn.Module
    views: Tensor
    select: Tensor

    def train_logits(self, numbers: Tensor, generator: torch.Generator) -> Tensor:
        view = torch.randint(len(self.views), (len(numbers),), generator=generator)
        logits: Tensor = self.classifier(self.views[view, numbers])
        return logits

    def select_logits(self) -> Tensor:
        with torch.no_grad():
            logits: Tensor = self.classifier(self.select)
            return logits


def cached_head(network: WholeNetwork, seed: int) -> Source:
    """The head on cached features; the whole network where its head is more than a matrix on such features."""
    model = network.model
    if not head_can_be_cached(model, network.plain(network.select, slice(0, 2))):
        return network
    pieces = _pieces(len(network.train))
    plain = encode(model, (network.plain(network.train, numbers) for numbers in pieces))
    varied = network.plan.augmentation != "none" or network.plan.flip
    views = min(_MOST_VIEWS, max(1, _ENOUGH_VIEWS // len(network.train))) if varied else 1
    generator = torch.Generator().manual_seed(seed)
    others = [encode(model, (network.varied(numbers, generator) for numbers in pieces)) for _ in range(views - 1)]
    select = encode(model, (network.plain(network.select, numbers) for numbers in _pieces(len(network.select))))
    classifier: nn.Module = model.get_classifier()  # type: ignore[operator]
    return CachedHead(classifier, torch.stack([plain, *others]), select)


def head_factor(network: WholeNetwork, base: float) -> float:
    """
    How much slower than `base` the head should learn, at most 1, judged by some images at the start.

    One step of Adam moves every weight by about the learning rate, so it moves a logit by about the rate times
    the sum of the features' sizes: wide networks with large features need smaller steps.
    """
    probe = network.plain(network.train, slice(0, 64))
    if not head_can_be_cached(network.model, probe):
        return 1.0
    moved = base * float(encode(network.model, iter([probe])).abs().sum(dim=1).mean())
    return min(1.0, _LARGEST_STEP / moved) if moved else 1.0


def _pieces(count: int) -> list[slice]:
    return [slice(start, min(start + _AT_ONCE, count)) for start in range(0, count, _AT_ONCE)]
