"""The job that every server is given: one network, and photos whose right answer is known before anybody is asked."""

import io
import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from infra.files import sha256_of, write_atomically
from models.artifact import Artifact, Lineage, Parity, write_artifact
from models.preprocessing import Preprocessing, decode_for, normalise, resize
from models.runtime import Graph, softmax

BACKBONE, IMAGE_SIZE = "mobilenetv3_small_050", 96
CLASSES = tuple(f"class-{number}" for number in range(10))
PREPROCESSING = Preprocessing(IMAGE_SIZE, (0.5, 0.5, 0.5), (0.5, 0.5, 0.5))
_CLEAR = 0.01  # ahead of the second class by so much, rounding in a batch of another size changes no answer


@dataclass(frozen=True)
class Kind:
    """One size of photo: pixels, how many different ones, and how much fine grain, which makes a JPEG long."""

    name: str
    width: int
    height: int
    photos: int
    grain: float


SMALL = Kind("small", 96, 96, 300, 2.0)
LARGE = Kind("large", 1600, 1200, 20, 5.0)
KINDS = {kind.name: kind for kind in (SMALL, LARGE)}


@dataclass(frozen=True)
class Photo:
    """A JPEG and the label that is right for it."""

    jpeg: bytes
    label: str

    def numbered(self, number: int) -> bytes:
        """The same picture as other bytes, so that nobody answers from memory: the number stands in a comment."""
        # After the start and the first segment of 18 bytes, where the standard wants JFIF to be.
        return b"%b\xff\xfe\x00\x12%016d%b" % (self.jpeg[:20], number, self.jpeg[20:])


def prepare(folder: Path) -> Path:
    """The job in a folder, made once: model/ as the registry takes it, and photos with their labels."""
    done = folder / f"{BACKBONE}-{IMAGE_SIZE}-v{PREPROCESSING.version}"
    if not (done / "labels.json").is_file():
        shutil.rmtree(done, ignore_errors=True)
        photos = {kind.name: [photo(kind, seed) for seed in range(kind.photos)] for kind in KINDS.values()}
        _write_model(done / "model", _squares(photos[SMALL.name]))
        _write_photos(done, photos)
    return done


def photos_of(folder: Path, kind: str) -> list[Photo]:
    """The photos of one size, as `prepare` left them."""
    labels = json.loads((folder / "labels.json").read_text())[kind]
    return [Photo((folder / kind / name).read_bytes(), label) for name, label in sorted(labels.items())]


def _write_photos(folder: Path, photos: dict[str, list[bytes]]) -> None:
    """Only those whose answer is clear; the labels come last and say that all is there."""
    graph = Graph.open(folder / "model" / "model.onnx")
    labels: dict[str, dict[str, str]] = {kind: {} for kind in photos}
    for kind, jpegs in photos.items():
        (folder / kind).mkdir()
        probabilities = softmax(graph.run(normalise(_squares(jpegs), PREPROCESSING))[0])
        for number, (jpeg, row) in enumerate(zip(jpegs, probabilities, strict=True)):
            second, first = np.sort(row)[-2:]
            if first - second > _CLEAR:
                name = f"{number:04d}.jpg"
                (folder / kind / name).write_bytes(jpeg)
                labels[kind][name] = CLASSES[int(row.argmax())]
    assert all(len(set(found.values())) > 1 for found in labels.values()), "every photo would get the same answer"
    write_atomically(folder / "labels.json", json.dumps(labels))


def photo(kind: Kind, seed: int) -> bytes:
    """A smooth picture of its own colours, with grain, as a JPEG."""
    chance = np.random.default_rng([seed, kind.width])
    tint = chance.uniform(40, 215, 3)
    scene = np.zeros((kind.height, kind.width, 3))
    for cells, depth in ((3, 60), (7, 30), (17, 15)):
        coarse = (chance.normal(0, depth, (cells, cells, 3)) + 128).clip(0, 255).astype(np.uint8)
        scene += np.asarray(Image.fromarray(coarse).resize((kind.width, kind.height), Image.Resampling.BICUBIC)) - 128.0
    scene += tint + chance.normal(0, kind.grain, (kind.height, kind.width, 1))
    buffer = io.BytesIO()
    Image.fromarray(scene.clip(0, 255).astype(np.uint8)).save(buffer, "JPEG", quality=88)
    return buffer.getvalue()


def _squares(jpegs: Sequence[bytes]) -> NDArray[np.uint8]:
    return np.stack([resize(decode_for(jpeg, PREPROCESSING).pixels, PREPROCESSING) for jpeg in jpegs])


def _write_model(folder: Path, squares: NDArray[np.uint8]) -> None:
    """An exported network with random weights, made to answer differently to different pictures."""
    import torch

    from models import backbone
    from models.export import Deployed

    folder.mkdir(parents=True)
    torch.manual_seed(0)
    torch.set_num_threads(1)
    model = backbone.build(BACKBONE, {}, len(CLASSES), image_size=IMAGE_SIZE)
    images = torch.from_numpy(normalise(squares, PREPROCESSING))
    with torch.no_grad():
        # Without statistics of its own a random network forgets its input on the way to the head.
        for layer in model.modules():
            if isinstance(layer, torch.nn.modules.batchnorm._BatchNorm):
                layer.momentum = 1.0
        model.train()(images)
        network = Deployed(model).eval()
        embedding = network(images)[1]
        head = model.get_classifier()  # type: ignore[operator]  # torch does not know what timm's networks have
        head.weight.copy_(torch.randn_like(head.weight) * 2 / embedding.std(0).norm())
        head.bias.copy_(-head.weight @ embedding.mean(0))
    torch.onnx.export(
        network,
        (torch.zeros(2, 3, IMAGE_SIZE, IMAGE_SIZE),),
        str(folder / "model.onnx"),
        dynamo=True,
        external_data=False,
        input_names=["images"],
        output_names=["logits", "embedding"],
        dynamic_shapes={"images": {0: torch.export.Dim("images")}},
        opset_version=18,
        verbose=False,
    )
    # Nobody trains from these weights; the registry wants to keep some.
    (folder / "model.safetensors").write_bytes(b"random")
    write_artifact(_artifact(folder, embedding.shape[1]), folder)


def _artifact(folder: Path, embedding_size: int) -> Artifact:
    return Artifact(
        name="bench",
        classes=CLASSES,
        preprocessing=PREPROCESSING,
        temperature=1.0,
        embedding_size=embedding_size,
        backbone=BACKBONE,
        options={},
        onnx_sha256=sha256_of(folder / "model.onnx"),
        onnx_bytes=(folder / "model.onnx").stat().st_size,
        weights_sha256=sha256_of(folder / "model.safetensors"),
        licence="none",
        lineage=Lineage(None, "benchmark", "", "2026-11-20T00:00:00+00:00", 0, "scratch"),
        parity=Parity(0.0, 0.0, same_answers=True, batches=(1, 7, 64)),
    )
