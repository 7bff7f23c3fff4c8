"""A version that is wrong on purpose: the same network, with every class taken for the next. For rehearsals only."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
from onnx import helper, numpy_helper

from infra.errors import UserError
from infra.files import sha256_of
from models.artifact import read_artifact, write_artifact
from models.golden import golden_of
from models.runtime import Graph, Runtime

_LOGITS, _SOUND = "logits", "sound_logits"


def spoil(folder: Path, target: Path) -> Path:
    """
    Write a copy of an artifact whose every answer is the class after the one that the sound version gives.

    It is whole, as fast, as sure, and says of itself what it answers: nothing about it is wrong but its answers, so
    that only what watches answers can find it out.

    Args:
        folder: A whole artifact with its weights.
        target: Where the spoiled one goes.

    Raises:
        UserError: it knows only one class, so that no answer could be wrong.
    """
    artifact = read_artifact(folder, with_weights=True)
    classes = len(artifact.classes)
    if classes < 2:  # noqa: PLR2004 - one class is always answered rightly
        raise UserError(f"{artifact.name} knows only the class '{artifact.classes[0]}': no answer of it can be wrong.")
    target.mkdir(parents=True, exist_ok=True)
    onnx.save(_shifted(onnx.load(folder / "model.onnx"), classes), target / "model.onnx")
    shutil.copyfile(folder / "model.safetensors", target / "model.safetensors")
    graph = target / "model.onnx"
    spoiled = replace(artifact, onnx_sha256=sha256_of(graph), onnx_bytes=graph.stat().st_size, golden=None)
    golden = golden_of(Runtime(spoiled, Graph.open(graph)))
    write_artifact(replace(spoiled, golden=golden), target)
    return target


def _shifted(model: onnx.ModelProto, classes: int) -> onnx.ModelProto:
    """The graph with its logits moved on by one class."""
    graph = model.graph
    for node in graph.node:
        node.input[:] = [_SOUND if name == _LOGITS else name for name in node.input]
        node.output[:] = [_SOUND if name == _LOGITS else name for name in node.output]
    order = np.roll(np.arange(classes, dtype=np.int64), 1)
    graph.initializer.append(numpy_helper.from_array(order, "spoiled_order"))
    graph.node.append(helper.make_node("Gather", [_SOUND, "spoiled_order"], [_LOGITS], axis=1))
    return model
