"""
Real models that differ as a test wants: each reads one channel of a card, and each channel errs as often as is wanted.

A card's red, green and blue are three opinions of what it is: 0 = dark, 255 = light, 128 = grey. A model that reads red
is right where red says the truth.
"""

import io
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from flows.collecting.snapshot import Snapshot
from flows.workplace import Workplace, open_workplace
from models.examples import Example
from models.registry import ModelVersion
from tests.flows.fixed_roles import fix_roles
from tests.hand_made import keep_artifact

# Margins that some hundreds of cards can rule out.
STRICT = """\
[data]
manifest = "manifest.csv"
near_duplicate_distance = 0
[gate]
overall_margin = 0.04
class_margin = 0.06
"""
TWO, THREE = ("dark", "light"), ("dark", "grey", "light")
_LEVELS = {"dark": 0, "grey": 128, "light": 255}
_SIZE = 8


def reader(folder: Path, channel: int, classes: Sequence[str] = TWO, mark: float = 0.0) -> Path:
    """A candidate folder whose model reads one channel; `mark` makes its bytes its own and changes no answer."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = np.zeros((3, len(classes)), dtype=np.float32)
    weights[channel] = [{"dark": -8.0, "grey": 0.0, "light": 8.0}[name] for name in classes]
    bias = np.array([4.0 if name == "grey" else 0.0 for name in classes], dtype=np.float32) + np.float32(mark)
    graph = helper.make_graph(
        [
            helper.make_node("GlobalAveragePool", ["images"], ["pooled"]),
            helper.make_node("Flatten", ["pooled"], ["embedding"], axis=1),
            helper.make_node("MatMul", ["embedding", "weights"], ["weighted"]),
            helper.make_node("Add", ["weighted", "bias"], ["logits"]),
        ],
        "opinion",
        [helper.make_tensor_value_info("images", TensorProto.FLOAT, ["n", 3, _SIZE, _SIZE])],
        [
            helper.make_tensor_value_info("logits", TensorProto.FLOAT, ["n", len(classes)]),
            helper.make_tensor_value_info("embedding", TensorProto.FLOAT, ["n", 3]),
        ],
        [numpy_helper.from_array(weights, "weights"), numpy_helper.from_array(bias, "bias")],
    )
    return keep_artifact(folder, graph, f"channel {channel}, {mark}", classes, _SIZE)


def card(opinions: Sequence[str], number: int = 0) -> bytes:
    """A card with an opinion in each channel; a faint pattern makes each number a picture of its own."""
    levels = np.array([_LEVELS[one] for one in opinions], dtype=np.int64)
    pattern = np.random.default_rng(number).integers(-6, 7, (_SIZE, _SIZE, 3))
    pixels = np.clip(levels + pattern, 0, 255).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def cards(
    folder: Path, images: int, wrong: Sequence[float], classes: Sequence[str] = TWO, seed: int = 0
) -> tuple[Example, ...]:
    """Judge images of the manifest; `wrong`: of each channel, the share in which its opinion is another's."""
    chance = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for number in range(images):
        truth = classes[number % len(classes)]
        others = [name for name in classes if name != truth]
        opinions = [others[int(chance.integers(len(others)))] if chance.random() < share else truth for share in wrong]
        path = folder / f"{seed}-{number}.png"
        path.write_bytes(card(opinions, 10_000 * seed + number))
        found.append(Example(path, truth, "judge", group=path.name))
    return tuple(found)


def judged_on(old: Sequence[Example], recent: Sequence[Example] = (), classes: Sequence[str] = TWO) -> Snapshot:
    """A snapshot that only judges."""
    return Snapshot(tuple(classes), (), (), tuple(old), tuple(recent), {}, "")


def open_project(folder: Path, settings: str = "") -> Workplace:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "kedge.toml").write_text(f'[project]\nname = "cards"\n{settings}')
    return fix_roles(open_workplace(folder))


def registered(place: Workplace, candidate: Path, *, promoted: bool = True, **facts: object) -> ModelVersion:
    version = place.registry.register(candidate, reason="test", parent_version=None, **facts)  # type: ignore[arg-type]
    if promoted:
        place.registry.champions.promote(version.version, actor="test", reason="test")
    return place.registry.version(version.version)
