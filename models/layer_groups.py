"""Any timm classifier cut into layer groups from stem to head: what is frozen, opened and given a rate together."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from timm.models import group_parameters
from torch import nn

from infra.errors import UserError

_EQUAL_SHARES = 6
_LEAST_GROUPS = 3  # fewer leave nothing to choose between head and whole network
# timm's normalisation layers that are not subclasses of torch's live here.
_NORM_MODULES = ("norm", "norm_act", "evo_norm", "filter_response_norm", "grn", "split_batchnorm")
_TORCH_NORMS = (
    nn.modules.batchnorm._NormBase,  # noqa: SLF001 - batch and instance norm of every dimension have no other name
    nn.LayerNorm,
    nn.GroupNorm,
    nn.RMSNorm,
)


@dataclass(frozen=True)
class LayerGroup:
    """Parameters that are frozen, trained and given a learning rate together; names as in `named_parameters`."""

    name: str
    parameters: tuple[str, ...]


def layer_groups(model: nn.Module) -> tuple[LayerGroup, ...]:
    """
    From stem to head: timm's own grouping where it has one, else the network's stages, else equal shares.

    The head is the last group and a group of its own; every parameter is in exactly one.

    Raises:
        UserError: the network has no head.
    """
    head = head_parameters(model)
    body = [[name for name in names if name not in set(head)] for names in _own_grouping(model)]
    named = [LayerGroup(_common_name(names), tuple(names)) for names in body if names]
    return (*named, LayerGroup("head", head))


def head_parameters(model: nn.Module) -> tuple[str, ...]:
    """
    Names of the head's parameters: of `get_classifier()` and of timm's configuration, together.

    Either alone misses some: heads with a BatchNorm of their own, auxiliary heads.

    Raises:
        UserError: there are none, as in a bare encoder.
    """
    own = {id(parameter) for module in _classifiers(model) for parameter in module.parameters()}
    configured = set(_configured(model))
    names = tuple(name for name, value in model.named_parameters() if id(value) in own or name in configured)
    if not names:
        raise UserError(
            f"{_name_of(model)} is an encoder without a classifier, so it has no outputs to name classes with; "
            "set model.backbone to a timm network that has a head, for example mobilenetv3_small_100"
        )
    return names


def class_parameters(model: nn.Module) -> tuple[str, ...]:
    """
    Those of the head's parameters that have a row for each class; a head may have hidden layers besides.

    Raises:
        UserError: the network has no head.
    """
    head, rows = head_parameters(model), set(_configured(model))
    shapes = {name: value.shape for name, value in model.named_parameters()}
    names = {id(value): name for name, value in model.named_parameters()}
    for module in _classifiers(model):
        own = {names[id(value)] for value in module.parameters()}
        # A hidden layer may happen to be as wide as there are classes; the configuration names the last one.
        if not own & rows:
            rows |= own
    classes = getattr(model, "num_classes", None)
    return tuple(name for name in head if name in rows and (not classes or shapes[name][:1] == (classes,)))


def norm_parameters(model: nn.Module) -> tuple[str, ...]:
    """Names of the scale and shift of every normalisation layer: torch's, and timm's own kinds."""
    return tuple(
        f"{name}.{key}" if name else key
        for name, module in model.named_modules()
        if _normalises(module)
        for key, _ in module.named_parameters(recurse=False)
    )


def unfreezing_steps(groups: Sequence[LayerGroup], steps: int) -> tuple[int, ...]:
    """
    First group of each unfreezing step, from the top down; the last one is 0. The head is not counted.

    The steps hold about equally many of the body's tensors, a measure of depth that is the same for a network of
    six groups and one of sixty; a lone norm at the top is never a step by itself while a step may hold more.
    Fewer steps come back where there are not as many groups; none where there is nothing but a head.
    """
    sizes = [len(group.parameters) for group in groups[:-1]]
    found: list[int] = []
    top = len(sizes)
    for left in range(min(steps, top), 0, -1):
        first = _first_of_step(sizes[:top], left)
        found.append(first)
        top = first
    return tuple(found)


def _first_of_step(sizes: Sequence[int], steps: int) -> int:
    """How far down the topmost of so many steps reaches, leaving a group for each of the others."""
    if steps == 1:
        return 0
    share = sum(sizes) / steps
    choices = range(len(sizes) - 1, steps - 2, -1)
    return min(choices, key=lambda first: abs(sum(sizes[first:]) - share))


def _classifiers(model: nn.Module) -> list[nn.Module]:
    found = model.get_classifier() if hasattr(model, "get_classifier") else ()  # type: ignore[operator]
    several = found if isinstance(found, tuple | list) else (found,)
    return [module for module in several if isinstance(module, nn.Module)]


def _configured(model: nn.Module) -> tuple[str, ...]:
    """The parameters that timm's configuration calls the classifier."""
    config: Mapping[str, Any] = getattr(model, "pretrained_cfg", None) or {}
    prefixes = config.get("classifier") or ()
    prefixes = (prefixes,) if isinstance(prefixes, str) else tuple(prefixes)
    return tuple(
        name for name, _ in model.named_parameters() if any(name.startswith(f"{prefix}.") for prefix in prefixes)
    )


def _own_grouping(model: nn.Module) -> list[list[str]]:
    matcher = getattr(model, "group_matcher", None)
    for coarse in (True, False):
        try:
            grouped = group_parameters(model, matcher(coarse=coarse)) if matcher else {}
        except (AssertionError, NotImplementedError, TypeError, KeyError):
            continue
        if len(grouped) >= _LEAST_GROUPS:
            return [list(grouped[key]) for key in sorted(grouped)]
    stages = _by_stage(model)
    return stages if len(stages) >= _LEAST_GROUPS else _equal_shares(model)


def _by_stage(model: nn.Module) -> list[list[str]]:
    """One group for each child of the network, and for each member of a child that is a sequence."""
    groups: dict[str, list[str]] = {}
    loose: list[str] = []  # a class token or a position embedding belongs to the stem
    units = dict(_units(model))
    for name, _ in model.named_parameters():
        unit = next((unit for unit in units if name.startswith(f"{unit}.")), None)
        (loose if unit is None else groups.setdefault(unit, [])).append(name)
    ordered = list(groups.values())
    return [[*loose, *ordered[0]], *ordered[1:]] if ordered else [loose]


def _units(model: nn.Module) -> Iterator[tuple[str, nn.Module]]:
    for name, child in model.named_children():
        if isinstance(child, nn.Sequential | nn.ModuleList):
            yield from ((f"{name}.{key}", member) for key, member in child.named_children())
        yield name, child


def _equal_shares(model: nn.Module) -> list[list[str]]:
    names = [name for name, _ in model.named_parameters()]
    cuts = [len(names) * share // _EQUAL_SHARES for share in range(_EQUAL_SHARES + 1)]
    return [names[start:end] for start, end in pairwise(cuts)]


def _normalises(module: nn.Module) -> bool:
    return isinstance(module, _TORCH_NORMS) or any(
        kind.__module__.startswith("timm.layers.") and kind.__module__.rsplit(".", maxsplit=1)[1] in _NORM_MODULES
        for kind in type(module).__mro__
    )


def _common_name(names: Sequence[str]) -> str:
    parts = [name.split(".")[:-1] for name in names]
    common = [level[0] for level in zip(*parts, strict=False) if len(set(level)) == 1]
    return ".".join(common) or ".".join(parts[0][:1]) or names[0]


def _name_of(model: nn.Module) -> str:
    config: Mapping[str, Any] = getattr(model, "pretrained_cfg", None) or {}
    return str(config.get("architecture") or type(model).__name__)
