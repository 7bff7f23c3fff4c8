"""A network's operations as a graph, and parts of that graph as networks again."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import torchvision
from timm.layers._fx import get_notrace_functions
from torch import Tensor, fx, nn


class OneInput(nn.Module):
    """The network as a function of its images alone: traced, an optional argument would be taken for given."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Tensor:
        logits: Tensor = self.network(images)
        return logits


def traced(root: nn.Module, trainable: Collection[int]) -> fx.Graph:
    """
    The operations of a network as it behaves in its present mode.

    trainable: identities of the parameters that train.
    """
    return _Tracer(trainable).trace(root)


def part_of(
    root: nn.Module,
    nodes: Sequence[fx.Node],
    constants: Mapping[fx.Node, Any],
    start: fx.Node | None,
    ends: Sequence[fx.Node],
) -> fx.GraphModule:
    """
    These operations with the modules of `root`.

    start: becomes the input. ends: become the output; where there are none, the network's own stays.
    """
    graph = fx.Graph()
    tables = {f"constant_{each.name}": value for each, value in constants.items() if isinstance(value, Tensor)}
    copies: dict[fx.Node, Any] = {start: graph.placeholder("activations")} if start else {}
    for each, value in constants.items():
        name = f"constant_{each.name}"
        copies[each] = graph.get_attr(name) if name in tables else value
    for each in nodes:
        if each not in copies:
            copies[each] = graph.node_copy(each, copies.__getitem__)
    if ends:
        graph.output(copies[ends[0]] if len(ends) == 1 else tuple(copies[end] for end in ends))
    for name, value in tables.items():
        root.register_buffer(name, value, persistent=False)
    return fx.GraphModule(root, graph)


def attribute(root: nn.Module, path: str) -> object:
    """What stands at a path such as `blocks.0.attn.bias`."""
    value: object = root
    for name in path.split("."):
        value = getattr(value, name)
    return value


class _Tracer(fx.Tracer):
    """
    Sees the inside of those modules only that the frontier runs through.

    All others stay as they are, with whatever their code decides when it runs: an operation that is traced inside
    of them would keep the answers that `self.training` gave while tracing.
    """

    def __init__(self, trainable: Collection[int]) -> None:
        super().__init__(
            autowrap_modules=(math, torchvision.ops),  # type: ignore[arg-type] # any number of them
            autowrap_functions=tuple(get_notrace_functions()),  # type: ignore[no-untyped-call]
        )
        self._trainable = trainable

    def is_leaf_module(self, m: nn.Module, module_qualified_name: str) -> bool:
        own = [id(parameter) in self._trainable for parameter in m.parameters()]
        return all(own) or not any(own)
