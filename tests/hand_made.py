"""Tiny networks that are written down instead of trained, as whole candidate folders."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import onnx
from onnx import helper

from infra.files import sha256_of
from models.artifact import Artifact, Lineage, Parity, write_artifact
from models.golden import golden_of
from models.preprocessing import Preprocessing
from models.runtime import Graph, Runtime


def keep_artifact(folder: Path, graph: "onnx.GraphProto", weights: str, classes: Sequence[str], size: int) -> Path:
    """
    A candidate folder around a graph with an embedding of three numbers.

    weights: what stands in for the weights' file, by which one candidate is told from another.
    """
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 9
    onnx.save(model, folder / "model.onnx")
    (folder / "model.safetensors").write_bytes(weights.encode())
    artifact = Artifact(
        name="cards",
        classes=tuple(classes),
        preprocessing=Preprocessing(size, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5)),
        temperature=1.0,
        embedding_size=3,
        backbone="none",
        options={},
        onnx_sha256=sha256_of(folder / "model.onnx"),
        onnx_bytes=(folder / "model.onnx").stat().st_size,
        weights_sha256=sha256_of(folder / "model.safetensors"),
        licence="none",
        lineage=Lineage(None, "test", "", "2026-11-20T00:00:00+00:00", 0, "scratch"),
        parity=Parity(0.0, 0.0, same_answers=True, batches=(1, 7, 64)),
    )
    golden = golden_of(Runtime(artifact, Graph.open(folder / "model.onnx")))
    write_artifact(replace(artifact, golden=golden), folder)
    return folder
