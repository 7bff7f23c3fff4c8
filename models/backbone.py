"""Any timm classifier: built, filled with weights, and cut into layer groups from stem to head."""

import difflib
import inspect
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import timm
import torch
from safetensors import SafetensorError, safe_open
from timm.data.config import resolve_model_data_config
from timm.models import group_parameters
from torch import nn

from infra.errors import UserError
from models.images import Preprocessing

_FALLBACK_GROUPS = 6
_NAMED = 5


@dataclass(frozen=True)
class LayerGroup:
    """Parameters that are frozen, trained and given a learning rate together; names as in `named_parameters`."""

    name: str
    parameters: tuple[str, ...]


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


def build(
    name: str, options: Mapping[str, Any], classes: int, *, pretrained: bool = False, image_size: int = 0
) -> nn.Module:
    """
    A timm classifier with a head for so many classes.

    pretrained: with timm's own weights, downloaded or from its cache; the head is new where classes differ.
    image_size: pixels a side, told to networks that are built for one size; 0 = their own.

    Raises:
        UserError: an unknown name (with a suggestion), options it does not take, or weights out of reach.
    """
    if not timm.is_model(name.split(".", maxsplit=1)[0]):
        close = difflib.get_close_matches(name, timm.list_models(), n=1)
        raise UserError(
            f"model.backbone {name!r} is not a timm network" + (f"; did you mean {close[0]!r}?" if close else "")
        )
    arguments = dict(options)
    if image_size and _built_for_one_size(name):
        arguments.setdefault("img_size", image_size)
    try:
        model: nn.Module = timm.create_model(name, pretrained=pretrained, num_classes=classes, **arguments)
    except OSError as problem:  # the hub's errors, and no network, are OSErrors
        raise UserError(no_pretrained_weights(name, str(problem).splitlines()[0] if str(problem) else "")) from problem
    except (TypeError, ValueError, RuntimeError, AssertionError) as problem:
        raise UserError(f"{name} cannot be built with model.options {dict(options)}: {problem}") from problem
    return model


def no_pretrained_weights(name: str, reason: str) -> str:
    """What to tell a person whose pretrained weights cannot be had."""
    return (
        f"the pretrained weights of {name} cannot be fetched ({reason or 'no network'}); "
        'set model.weights to a .safetensors file of this network, or to "none" to train from scratch'
    )


def network_input(model: nn.Module, weights: WeightsFile | None = None) -> Preprocessing:
    """What the network expects of its images: its own configuration, overruled by what its weights file says."""
    config: dict[str, Any] = resolve_model_data_config(model)  # type: ignore[no-untyped-call]
    texts = weights.texts if weights else {}
    mean, std = (
        tuple(float(part) for part in texts[key].split(",")) if key in texts else tuple(config[key])
        for key in ("mean", "std")
    )
    interpolation = "bicubic" if config["interpolation"] == "bicubic" else "bilinear"
    return Preprocessing(int(config["input_size"][-1]), _three(mean), _three(std), interpolation)


def licence_of(model: nn.Module) -> str:
    """The licence of timm's own weights of this network; unknown where timm does not say."""
    return str(_config(model).get("license") or "unknown")


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

    Some networks draw theirs so large that its first answers are confident noise, to be unlearnt before anything else.
    """
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name in head_parameters(model):
            if parameters[name].ndim > 1 or name.endswith("bias"):
                parameters[name].zero_()


def load_pretrained(model: nn.Module, weights: WeightsFile) -> None:
    """
    Fill everything but the head, strictly: its classes are another task's.

    Raises:
        UserError: tensors are missing, unknown or of another shape.
    """
    head = set(head_parameters(model))
    kept = {name: tensor for name, tensor in weights.tensors.items() if name not in head}
    _load_strictly(model, weights.path, {**kept, **{name: model.state_dict()[name] for name in head}})


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
        for name in head_parameters(model):
            if name in tensors and len(tensors[name]) == len(weights.classes):
                rows = fresh[name].clone()
                for new, old in known:
                    rows[new] = tensors[name][old]
                tensors[name] = rows
    _load_strictly(model, weights.path, tensors)


def layer_groups(model: nn.Module) -> tuple[LayerGroup, ...]:
    """
    From stem to head: timm's own grouping where it has one, else equal shares in order of definition.

    The head (everything whose shape depends on the classes) is the last group and a group of its own.

    Raises:
        UserError: the network has no head.
    """
    head = head_parameters(model)
    body = [[name for name in names if name not in set(head)] for names in _own_grouping(model)]
    body = [names for names in body if names]
    named = [LayerGroup(_common_name(names), tuple(names)) for names in body]
    return (*named, LayerGroup("head", head))


def head_parameters(model: nn.Module) -> tuple[str, ...]:
    """
    Names of the classifier's parameters: of `get_classifier()` and of timm's configuration, together.

    Either alone misses some: heads with a BatchNorm of their own, auxiliary heads.

    Raises:
        UserError: there are none, as in a bare encoder.
    """
    found = model.get_classifier() if hasattr(model, "get_classifier") else ()  # type: ignore[operator]
    modules = [
        module for module in (found if isinstance(found, tuple | list) else (found,)) if isinstance(module, nn.Module)
    ]
    own = {id(parameter) for module in modules for parameter in module.parameters()}
    prefixes = _config(model).get("classifier") or ()
    prefixes = (prefixes,) if isinstance(prefixes, str) else tuple(prefixes)
    names = tuple(
        name
        for name, parameter in model.named_parameters()
        if id(parameter) in own or any(name.startswith(f"{prefix}.") for prefix in prefixes)
    )
    if not names:
        raise UserError(f"{type(model).__name__} has no classifier to train; choose a timm network with a head")
    return names


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


def _own_grouping(model: nn.Module) -> list[list[str]]:
    matcher = getattr(model, "group_matcher", None)
    for coarse in (True, False):
        try:
            grouped = group_parameters(model, matcher(coarse=coarse)) if matcher else {}
        except (AssertionError, NotImplementedError, TypeError, KeyError):
            continue
        if len(grouped) > 1:
            return [list(grouped[key]) for key in sorted(grouped)]
    return _equal_shares(model)


def _equal_shares(model: nn.Module) -> list[list[str]]:
    sizes = {name: parameter.numel() for name, parameter in model.named_parameters()}
    share = sum(sizes.values()) / _FALLBACK_GROUPS
    groups: list[list[str]] = [[] for _ in range(_FALLBACK_GROUPS)]
    passed = 0
    for name, size in sizes.items():
        groups[min(int(passed / share), _FALLBACK_GROUPS - 1)].append(name)
        passed += size
    return groups


def _common_name(names: Sequence[str]) -> str:
    parts = [name.split(".")[:-1] for name in names]
    common = [level[0] for level in zip(*parts, strict=False) if len(set(level)) == 1]
    return ".".join(common) or ".".join(parts[0][:1]) or names[0]


def _built_for_one_size(name: str) -> bool:
    config = timm.get_pretrained_cfg(name)
    entry = inspect.signature(timm.model_entrypoint(name.split(".", maxsplit=1)[0])).parameters
    return bool(config and config.fixed_input_size) and "kwargs" in entry


def _config(model: nn.Module) -> Mapping[str, Any]:
    config: Mapping[str, Any] = getattr(model, "pretrained_cfg", None) or {}
    return config


def _three(values: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = values if len(values) == 3 else tuple(values)[:1] * 3  # noqa: PLR2004 - channels
    return red, green, blue
