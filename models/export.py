"""
`python -m models.export --run-dir DIR`: from trained weights to the ONNX that serves.

A process of its own: the exporter's memory is given back with it. The export counts only if the graph answers as the
network does.
"""

import argparse
import dataclasses
import io
import json
import logging
import sys
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from infra.errors import UserError
from infra.files import sha256_of, write_atomically
from models import backbone
from models.artifact import Artifact, Lineage, Parity, write_artifact
from models.golden import golden_of
from models.preprocessing import decode_for, normalise, resize
from models.runtime import Graph, Runtime
from models.temperature import best_temperature
from models.training.report import TrainingReport, read_report
from models.training.run_folder import read_examples
from models.weights import load_champion, read_weights

SELECT_LOGITS = "select_logits.npy"

_BATCHES = (1, 7, 64)
_OPSET = 18
_MOST_SELECT = 5_000


class Deployed(nn.Module):
    """A timm classifier that gives its logits and the embedding they are made from."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor]:
        """images: (N, 3, S, S); gives (N, C) and (N, D)."""
        model: Any = self.model
        features = model.forward_features(images)
        return model.forward_head(features), model.forward_head(features, pre_logits=True).flatten(1)


def main() -> int:
    """Exit code 0 when done, 1 for a UserError."""
    parser = argparse.ArgumentParser(prog="python -m models.export", description="Export a finished training run.")
    parser.add_argument("--run-dir", type=Path, required=True, help="the run directory, with candidate/ in it")
    try:
        artifact = export(parser.parse_args().run_dir)
    except UserError as problem:
        print(problem, file=sys.stderr)  # noqa: T201 - the command's own words
        return 1
    print(f"exported {artifact.name}: {artifact.parity}")  # noqa: T201
    return 0


def export(run_dir: Path) -> Artifact:
    """
    Write candidate/model.onnx, parity.json and, last, artifact.json.

    Beside them, in the run directory, select_logits.npy: the graph's float32 (N, C) for the first *select* images of
    examples.csv, for whoever wants to look at their mistakes.

    Raises:
        UserError: training has not finished, or the graph does not answer as the network does.
    """
    candidate = run_dir / "candidate"
    report = read_report(candidate)
    # More threads than cores that are free slow small graphs down; this is short work.
    torch.set_num_threads(max(1, report.plan.threads))
    network = _network(report, candidate)
    path = candidate / "model.onnx"
    _write_graph(network, report, path)
    squares, labels = _select_images(run_dir, report)
    parity = _parity(network, path, _probe(squares, report))
    write_atomically(candidate / "parity.json", json.dumps(dataclasses.asdict(parity), indent=2) + "\n")
    if not parity.holds:
        raise UserError(
            f"the exported graph does not answer as the trained network: {parity}. "
            "Nothing was registered; try another backbone, or another version of torch or onnxruntime."
        )
    logits = _select_logits(path, squares, report)
    write_atomically(run_dir / SELECT_LOGITS, _as_npy(logits))
    artifact = _artifact(report, candidate, network, best_temperature(logits, labels), parity)
    artifact = dataclasses.replace(artifact, golden=golden_of(Runtime(artifact, Graph.open(path))))
    write_artifact(artifact, candidate)
    return artifact


def _network(report: TrainingReport, candidate: Path) -> Deployed:
    plan = report.plan
    model = backbone.build(plan.backbone, plan.options, len(plan.classes), image_size=report.preprocessing.image_size)
    load_champion(model, read_weights(candidate / "model.safetensors"), plan.classes)
    return Deployed(model.eval())


def _write_graph(network: Deployed, report: TrainingReport, path: Path) -> None:
    size = report.preprocessing.image_size
    # Two images, because the exporter takes a batch of one for a constant.
    example = torch.zeros(2, 3, size, size)
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        # The exporter warns of its own insides; whether the result is right is measured below.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            network,
            (example,),
            str(path),
            dynamo=True,
            external_data=False,
            input_names=["images"],
            output_names=["logits", "embedding"],
            dynamic_shapes={"images": {0: torch.export.Dim("images")}},
            opset_version=_OPSET,
            verbose=False,
        )


def _select_images(run_dir: Path, report: TrainingReport) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    """The *select* images, resized: uint8 (N, S, S, 3), and the class number of each."""
    rows = [row for row in read_examples(run_dir, report.plan) if row.role == "select"][:_MOST_SELECT]
    wanted = report.preprocessing
    squares = [resize(decode_for((run_dir / row.image).read_bytes(), wanted).pixels, wanted) for row in rows]
    labels = [report.plan.classes.index(row.label) for row in rows]
    return np.stack(squares), np.array(labels, dtype=np.int64)


def _probe(squares: NDArray[np.uint8], report: TrainingReport) -> NDArray[np.float32]:
    """As many real images as the largest batch; noise where there are too few, so that no two are alike."""
    size, most = report.preprocessing.image_size, max(_BATCHES)
    chance = np.random.default_rng(0)
    noise = chance.integers(0, 256, (max(0, most - len(squares)), size, size, 3), dtype=np.uint8)
    return normalise(np.concatenate([squares[:most], noise]), report.preprocessing)


def _parity(network: Deployed, path: Path, probe: NDArray[np.float32]) -> Parity:
    session = Graph.open(path)
    probability = embedding = 0.0
    same = True
    for images in _BATCHES:
        batch = probe[:images]
        with torch.inference_mode():
            logits, features = network(torch.from_numpy(batch))
        got_logits, got_features = (torch.from_numpy(part) for part in session.run(batch))
        gap = (functional.softmax(logits, 1) - functional.softmax(got_logits, 1)).abs().max()
        distance = (features - got_features).norm(dim=1) / features.norm(dim=1).clamp(min=1e-12)
        probability, embedding = max(probability, float(gap)), max(embedding, float(distance.max()))
        same = same and bool((logits.argmax(1) == got_logits.argmax(1)).all())
    return Parity(probability, embedding, same, _BATCHES)


def _select_logits(path: Path, squares: NDArray[np.uint8], report: TrainingReport) -> NDArray[np.float32]:
    session = Graph.open(path)
    parts = [
        session.run(normalise(squares[start : start + 64], report.preprocessing))[0]
        for start in range(0, len(squares), 64)
    ]
    return np.concatenate(parts)


def _as_npy(values: NDArray[np.float32]) -> bytes:
    file = io.BytesIO()
    np.save(file, values, allow_pickle=False)
    return file.getvalue()


def _artifact(
    report: TrainingReport, candidate: Path, network: Deployed, temperature: float, parity: Parity
) -> Artifact:
    plan, size = report.plan, report.preprocessing.image_size
    with torch.inference_mode():
        embedding_size = network(torch.zeros(1, 3, size, size))[1].shape[1]
    return Artifact(
        name=plan.name,
        classes=plan.classes,
        preprocessing=report.preprocessing,
        temperature=temperature,
        embedding_size=embedding_size,
        onnx_sha256=sha256_of(candidate / "model.onnx"),
        onnx_bytes=(candidate / "model.onnx").stat().st_size,
        weights_sha256=sha256_of(candidate / "model.safetensors"),
        backbone=plan.backbone,
        options=plan.options,
        licence=report.licence,
        lineage=Lineage(
            parent_version=plan.parent_version,
            reason=plan.reason,
            data_fingerprint=report.data_fingerprint,
            trained_at=report.trained_at,
            seed=plan.seed,
            strategy=plan.strategy,
        ),
        parity=parity,
    )


if __name__ == "__main__":
    sys.exit(main())
