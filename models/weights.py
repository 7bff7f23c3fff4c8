"""A file of weights: read without running code from it, and fitted into a network strictly."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from torch import nn

from infra.errors import UserError
from models.layer_groups import class_parameters, head_parameters

_NAMED = 5


@dataclass(frozen=True)
class WeightsFile:
    """Tensors by name, and the texts that came with them."""

    path: Path
    tensors: Mapping[str, torch.Tensor]
    texts: Mapping[str, str]

    @property
    def classes(self) -> tuple[str, ...]:
        """The classes of its head, in order; empty where the file does not say."""
        return tuple(json.loads(self.texts.get("classes", "[]")))


def read_weights(path: Path) -> WeightsFile:
    """
    The tensors of a .safetensors file, or of a plain torch file read without running code from it.

    Raises:
        UserError: missing or damaged.
    """
    if not path.is_file():
        raise UserError(f"the weights file {path} does not exist")
    try:
        if path.suffix == ".safetensors":
            with safe_open(path, framework="pt") as file:
                return WeightsFile(path, {key: file.get_tensor(key) for key in file.keys()}, file.metadata() or {})  # noqa: SIM118 - no mapping
        loaded = torch.load(path, map_location="cpu", weights_only=True)
        return WeightsFile(path, loaded.get("state_dict", loaded), {})
    except (SafetensorError, OSError, RuntimeError, EOFError, AttributeError, ValueError) as problem:
        raise UserError(f"the weights file {path} is damaged or of another kind: {problem}") from problem


def calm_head(model: nn.Module) -> None:
    """
    A new head that says nothing yet: every class the same.

    Some networks draw theirs so large that its first answers are confident noise, to be unlearnt before anything
    else. Hidden layers of a head stay: with those at zero as well, no gradient would ever leave zero.
    """
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name in class_parameters(model):
            parameters[name].zero_()


def load_pretrained(model: nn.Module, weights: WeightsFile) -> None:
    """
    Fill everything but the rows of the classes, strictly: they are another task's.

    Hidden layers of the head are filled where the file has them.

    Raises:
        UserError: tensors are missing, unknown or of another shape.
    """
    own, rows = model.state_dict(), set(class_parameters(model))
    fitting = {name for name in head_parameters(model) if name in weights.tensors} - rows
    fitting = {name for name in fitting if weights.tensors[name].shape == own[name].shape}
    fresh = {name: own[name] for name in head_parameters(model) if name not in fitting}
    kept = {name: tensor for name, tensor in weights.tensors.items() if name not in fresh}
    _load_strictly(model, weights.path, {**kept, **fresh})


def load_champion(model: nn.Module, weights: WeightsFile, classes: Sequence[str]) -> None:
    """
    Fill everything, the head's rows by class name: a class the file does not know keeps its fresh row.

    Raises:
        UserError: tensors are missing, unknown or of another shape.
    """
    tensors = dict(weights.tensors)
    if weights.classes and weights.classes != tuple(classes):
        known = [(classes.index(name), row) for row, name in enumerate(weights.classes) if name in classes]
        fresh = model.state_dict()
        for name in class_parameters(model):
            if name in tensors and len(tensors[name]) == len(weights.classes):
                rows = fresh[name].clone()
                for new, old in known:
                    rows[new] = tensors[name][old]
                tensors[name] = rows
    _load_strictly(model, weights.path, tensors)


def _load_strictly(model: nn.Module, path: Path, tensors: Mapping[str, torch.Tensor]) -> None:
    own = model.state_dict()
    # A BatchNorm's counter of batches is missing from files of other frameworks, and nothing here reads it.
    missing = [name for name in own if name not in tensors and not name.endswith("num_batches_tracked")]
    unknown = [name for name in tensors if name not in own]
    differing = [
        f"{name} is {tuple(tensors[name].shape)}, should be {tuple(own[name].shape)}"
        for name in own
        if name in tensors and tensors[name].shape != own[name].shape
    ]
    if missing or unknown or differing:
        lines = [
            f"{len(found)} tensors {what}: {', '.join(found[:_NAMED])}{', …' if len(found) > _NAMED else ''}"
            for what, found in (("are missing", missing), ("are unknown", unknown), ("differ", differing))
            if found
        ]
        raise UserError(
            f"{path} does not fit {type(model).__name__}:\n  "
            + "\n  ".join(lines)
            + "\nmodel.backbone and model.options must be those the weights were made with"
        )
    model.load_state_dict({**own, **tensors}, strict=True)
