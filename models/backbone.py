"""Any timm classifier by name: built with a head for our classes, and what it wants of its images."""

import difflib
import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import timm
from safetensors import SafetensorError
from timm.data.config import resolve_model_data_config
from torch import nn

from infra.errors import UserError
from models.layer_groups import head_parameters
from models.preprocessing import Preprocessing
from models.weights import WeightsFile

_REGULARISERS = {"drop_rate": "train.dropout", "drop_path_rate": "train.drop_path"}


class WeightsOutOfReach(UserError):
    """The network can be built, but its pretrained weights cannot be had: no network, or there are none."""

    def __init__(self, name: str, reason: str) -> None:
        self.reason = reason or "no network"
        super().__init__(no_pretrained_weights(name, self.reason))


def build(
    name: str,
    options: Mapping[str, Any],
    classes: int,
    *,
    pretrained: bool = False,
    image_size: int = 0,
    dropout: float = 0.0,
    drop_path: float = 0.0,
) -> nn.Module:
    """
    A timm classifier with a head for so many classes.

    pretrained: with timm's own weights, downloaded or from its cache; the head is new where classes differ.
    image_size: pixels a side, told to networks that are built for one size; 0 = their own.
    dropout: share of the features before the head left out in training; 0 = the network's own.
    drop_path: share of the images that skip a residual branch, rising towards the head; 0 = the network's own.

    Raises:
        WeightsOutOfReach: the network is fine, its pretrained weights cannot be fetched.
        UserError: an unknown name (with a suggestion), an encoder without a head, or options it does not take.
    """
    if not timm.is_model(name.split(".", maxsplit=1)[0]):
        close = difflib.get_close_matches(name, timm.list_models(), n=1)
        raise UserError(
            f"model.backbone {name!r} is not a timm network" + (f"; did you mean {close[0]!r}?" if close else "")
        )
    arguments = _arguments(name, options, image_size, {"drop_rate": dropout, "drop_path_rate": drop_path})
    try:
        model: nn.Module = timm.create_model(name, pretrained=pretrained, num_classes=classes, **arguments)
    # The hub's errors, and no network, are OSErrors; a network of which there are no weights is a RuntimeError.
    except (OSError, TypeError, ValueError, RuntimeError, AssertionError, SafetensorError) as problem:
        if pretrained:
            # What cannot be built without the weights either is told by this line; else the weights were the trouble.
            build(name, options, classes, image_size=image_size, dropout=dropout, drop_path=drop_path)
            raise WeightsOutOfReach(name, _first_line(problem)) from problem
        raise _not_built(name, options, problem) from problem
    head_parameters(model)
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
    config: Mapping[str, Any] = getattr(model, "pretrained_cfg", None) or {}
    return str(config.get("license") or "unknown")


def _arguments(name: str, options: Mapping[str, Any], image_size: int, rates: Mapping[str, float]) -> dict[str, Any]:
    arguments = dict(options)
    if image_size and _built_for_one_size(name):
        arguments.setdefault("img_size", image_size)
    for key, rate in rates.items():
        if rate > 0 and key in options:
            raise UserError(
                f"model.options sets {key} = {options[key]} and {_REGULARISERS[key]} = {rate}; keep one of them"
            )
        if rate > 0:
            arguments[key] = rate
    return arguments


def _not_built(name: str, options: Mapping[str, Any], problem: Exception) -> UserError:
    for key, setting in _REGULARISERS.items():
        if isinstance(problem, TypeError) and f"'{key}'" in str(problem) and key not in options:
            return UserError(f"{name} takes no {key}; set {setting} to 0, or choose another model.backbone")
    return UserError(f"{name} cannot be built with model.options {dict(options)}: {problem}")


def _first_line(problem: Exception) -> str:
    text = str(problem).strip()
    return text.splitlines()[0] if text else ""


def _built_for_one_size(name: str) -> bool:
    config = timm.get_pretrained_cfg(name)
    entry = inspect.signature(timm.model_entrypoint(name.split(".", maxsplit=1)[0])).parameters
    return bool(config and config.fixed_input_size) and "kwargs" in entry


def _three(values: Sequence[float]) -> tuple[float, float, float]:
    red, green, blue = values if len(values) == 3 else tuple(values)[:1] * 3  # noqa: PLR2004 - channels
    return red, green, blue
