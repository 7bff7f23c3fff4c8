"""What all contenders share: the network, its images, and the way a result is judged."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import safetensors.torch
import timm
import torch
from torch import Tensor, nn

from models.images import decode
from models.preprocessing import Preprocessing, resize
from tests.benchmarks.datasets import BACKBONE, MEAN_AND_STD, OPTIONS

_AT_ONCE = 128  # images in a forward pass without gradients


def network(classes: int, weights: Path, *, champion: bool) -> nn.Module:
    """The network filled with ImageNet's weights and a new head, or with a champion's, head and all."""
    model: nn.Module = timm.create_model(BACKBONE, num_classes=classes, **OPTIONS)
    tensors = safetensors.torch.load_file(weights)
    if not champion:
        # timm draws this network's head so large that rivals would first unlearn it; torch's own is what people take.
        model.get_classifier().reset_parameters()  # type: ignore[operator, union-attr]
        tensors = {name: tensor for name, tensor in tensors.items() if not name.startswith("classifier.")}
    missing = set(model.load_state_dict(tensors, strict=False).missing_keys)
    missing = {name for name in missing if not name.endswith("num_batches_tracked")}
    if missing != (set() if champion else {"classifier.weight", "classifier.bias"}):
        raise ValueError(f"{weights} does not fill {BACKBONE}: {sorted(missing)[:5]}")
    return model.to(memory_format=torch.channels_last)


def save(model: nn.Module, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    safetensors.torch.save_file({name: tensor.contiguous() for name, tensor in model.state_dict().items()}, path)


def pixels(paths: Sequence[str], image_size: int) -> Tensor:
    """Images as serving sees them before normalisation: uint8 (N, 3, S, S)."""
    wanted = Preprocessing(image_size, MEAN_AND_STD, MEAN_AND_STD)
    images = [resize(decode(Path(path).read_bytes()).pixels, wanted) for path in paths]
    return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2)


def normalised(batch: Tensor) -> Tensor:
    """From 0..255 to the network's input."""
    return ((batch.float() / 255 - MEAN_AND_STD[0]) / MEAN_AND_STD[0]).contiguous(memory_format=torch.channels_last)


def logits(model: nn.Module, images: Tensor) -> Tensor:
    model.eval()
    with torch.no_grad():
        return torch.cat([model(normalised(piece)) for piece in images.split(_AT_ONCE)])


def scores(answers: Tensor, labels: Tensor) -> dict[str, float]:
    """Accuracy, and the mean over the classes that occur of the share found of each."""
    right = (answers.argmax(1) == labels).double()
    recalls = [float(right[labels == label].mean()) for label in labels.unique()]
    return {"accuracy": float(right.mean()), "macro_recall": sum(recalls) / len(recalls)}


def numbers(labels: Sequence[str], classes: Sequence[str]) -> Tensor:
    return torch.tensor([classes.index(label) for label in labels])


def judged(weights: Path, classes: Sequence[str], sets: Mapping[str, Any], image_size: int) -> dict[str, float]:
    """Scores of a result on every set of images, as {"new_accuracy": …, "old_macro_recall": …}."""
    model = network(len(classes), weights, champion=True)
    found = {}
    for name, images in sets.items():
        answers = logits(model, pixels([image.path for image in images], image_size))
        for what, value in scores(answers, numbers([image.label for image in images], classes)).items():
            found[f"{name}_{what}"] = value
    return found
