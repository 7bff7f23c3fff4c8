"""A network cut where its frozen part ends: what lies before is computed once for all epochs, the rest is trained."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from timm.layers.drop import DropPath
from torch import Tensor, fx, nn
from torch.nn import functional
from torch.nn.modules.batchnorm import _NormBase
from torch.nn.modules.dropout import _DropoutNd

from models.training.frozen.split_check import difference, untouched
from models.training.frozen.tracing import OneInput, attribute, part_of, traced

_DROPOUTS = (functional.dropout, functional.dropout2d, functional.alpha_dropout, functional.feature_alpha_dropout)


@dataclass(frozen=True)
class Split:
    """
    The two parts of a network; they share its modules, so its weights and modes are theirs at any time.

    Attributes:
        prefix: images (N, 3, S, S) to the frontier's activations (N, …); frozen, so to be called without gradients.
        suffix: those to logits (N, C), in training mode as the network trains and otherwise as it is evaluated.
        frontier: name of the operation whose result is the frontier.
    """

    prefix: fx.GraphModule
    suffix: Callable[[Tensor], Tensor]
    frontier: str


@dataclass(frozen=True)
class NoSplit:
    """Why a network cannot be cut, or why it would be of no use."""

    reason: str


def split(model: nn.Module, trainable: Collection[str], probe: Tensor) -> Split | NoSplit:
    """
    Cut a network at its frozen frontier and compare the two parts with the whole.

    model: in the mode in which it is going to train, what trains requiring gradients; it is left as it was.
    trainable: names of its parameters that train.
    probe: some images as the network takes them, (N, 3, S, S) with N at least 4.
    """
    try:
        with untouched(model):
            parts = _cut(model, trainable, probe)
    except _CannotSplitError as problem:
        return NoSplit(str(problem))
    differing = difference(model, parts.prefix, parts.suffix, probe)
    return NoSplit(differing) if differing else parts


class _CannotSplitError(Exception):
    pass


class _Suffix(nn.Module):
    """Its graph depends on the mode: Python code that asks `self.training` is traced with one answer."""

    def __init__(self, model: nn.Module, training: nn.Module, evaluation: nn.Module) -> None:
        super().__init__()
        # In a tuple they are no submodules, whose modes and weights are the model's affair.
        self._parts = (model, training, evaluation)

    def forward(self, activations: Tensor) -> Tensor:
        model, training, evaluation = self._parts
        logits: Tensor = (training if model.training else evaluation)(activations)
        return logits


@dataclass(frozen=True)
class _Wakeful:
    """
    What may not be computed once for all epochs: modules by identity.

    Attributes:
        trainable: parameters that train.
        restless: modules that answer otherwise each time, or learn from what they see, in the mode at hand.
    """

    trainable: frozenset[int]
    restless: frozenset[int]

    def owns(self, module: nn.Module) -> bool:
        """Whether any of it is in this module."""
        return any(id(parameter) in self.trainable for parameter in module.parameters()) or any(
            id(part) in self.restless for part in module.modules()
        )


def _cut(model: nn.Module, trainable: Collection[str], probe: Tensor) -> Split:
    wakeful = _Wakeful(
        frozenset(id(parameter) for name, parameter in model.named_parameters() if name in trainable),
        frozenset(id(module) for module in model.modules() if _is_restless(module)),
    )
    root = OneInput(model)
    _, training_suffix, _ = _parts(root, wakeful, probe)
    model.eval()
    prefix, evaluation_suffix, name = _parts(root, wakeful, probe)
    return Split(prefix, _Suffix(model, training_suffix, evaluation_suffix), name)


def _parts(root: nn.Module, wakeful: _Wakeful, probe: Tensor) -> tuple[fx.GraphModule, fx.GraphModule, str]:
    """Prefix and suffix as the network behaves in its present mode, and the name of what passes between them."""
    try:
        graph = traced(root, wakeful.trainable)
    except Exception as problem:
        # Code that asks for the value of a tensor fails in any way when it is traced.
        raise _CannotSplitError(f"it cannot be traced ({type(problem).__name__}: {problem})") from problem
    steady = _independent_of_the_images(graph)
    hot = _hot(root, graph, wakeful)
    frontier = _frontier(graph, hot, steady)
    constants = _same_for_all_images(root, graph, hot, frontier, probe) if len(frontier) > 1 else {}
    frontier = _frontier(graph, hot, steady | constants.keys())
    while len(frontier) > 1 and (moved := _without_parameters(root, frontier)):
        # Cheap operations are done again in every epoch, if that leaves less to be kept.
        hot.add(moved)
        frontier = _frontier(graph, hot, steady | constants.keys())
    if len(frontier) != 1:
        names = ", ".join(node.name for node in frontier[:3])
        raise _CannotSplitError(f"{len(frontier)} values pass the frontier ({names} …)")
    (node,) = frontier
    if node.op == "placeholder":
        raise _CannotSplitError("nothing is frozen between the images and what trains")
    prefix = part_of(root, [each for each in graph.nodes if each not in hot], {}, None, (node,))
    suffix = part_of(root, [each for each in graph.nodes if each in hot or each in steady], constants, node, ())
    return prefix, suffix, node.name


def _hot(root: nn.Module, graph: fx.Graph, wakeful: _Wakeful) -> set[fx.Node]:
    """What trains or is restless, and all that depends on it."""
    hot: set[fx.Node] = set()
    for node in graph.nodes:
        inherits = any(each in hot for each in node.all_input_nodes)
        if inherits or node.op == "output" or _is_hot_itself(root, node, wakeful):
            hot.add(node)
    return hot


def _is_hot_itself(root: nn.Module, node: fx.Node, wakeful: _Wakeful) -> bool:
    if node.op == "call_module":
        return wakeful.owns(root.get_submodule(str(node.target)))
    if node.op == "get_attr":
        return id(attribute(root, str(node.target))) in wakeful.trainable
    return node.target in _DROPOUTS and bool(node.kwargs.get("p", 0.5))


def _frontier(graph: fx.Graph, hot: Collection[fx.Node], steady: Collection[fx.Node]) -> list[fx.Node]:
    """What is computed once and used by what is not, in the order of computation."""
    return [
        node
        for node in graph.nodes
        if node not in hot and node not in steady and any(user in hot for user in node.users)
    ]


def _independent_of_the_images(graph: fx.Graph) -> set[fx.Node]:
    """Weights, and what is made of nothing else: either part may read it."""
    dependent: set[fx.Node] = set()
    for node in graph.nodes:
        if node.op == "placeholder" or any(each in dependent for each in node.all_input_nodes):
            dependent.add(node)
    return set(graph.nodes) - dependent


def _without_parameters(root: nn.Module, nodes: Sequence[fx.Node]) -> fx.Node | None:
    """The last of these operations that has no weights, such as an activation, a shape or a sum."""
    for node in reversed(nodes):
        if node.op in ("call_function", "call_method"):
            return node
        if node.op == "call_module" and not list(root.get_submodule(str(node.target)).parameters()):
            return node
    return None


def _same_for_all_images(
    root: nn.Module, graph: fx.Graph, hot: Collection[fx.Node], nodes: Sequence[fx.Node], probe: Tensor
) -> dict[fx.Node, Any]:
    """Of these values those that no image changes, nor the number of images: sizes, tables of positions."""
    cold = part_of(root, [each for each in graph.nodes if each not in hot], {}, None, nodes)
    with torch.no_grad():
        few, many = cold(probe[1:].flip(0)), cold(probe)
    return {
        node: value
        for node, value, other in zip(nodes, many, few, strict=True)
        if _is_plain(value) and _same(value, other)
    }


def _is_plain(value: object) -> bool:
    """A tensor, or something that can stand in code as it is."""
    if isinstance(value, tuple | list):
        return all(isinstance(each, int | float) for each in value)
    return isinstance(value, Tensor | int | float | None)


def _same(value: object, other: object) -> bool:
    if isinstance(value, Tensor) and isinstance(other, Tensor):
        return torch.equal(value, other)
    return type(value) is type(other) and bool(value == other)


def _is_restless(module: nn.Module) -> bool:
    if not module.training:
        return False
    if isinstance(module, _DropoutNd):
        return module.p > 0
    if isinstance(module, DropPath):
        return bool(module.drop_prob)
    return isinstance(module, _NormBase)
