"""What the rivals share: the network as one would run it by hand, with the same preprocessing as ours."""

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
from numpy.typing import NDArray
from PIL.Image import Image

from models.preprocessing import Preprocessing, decode_for, normalise, resize

MODEL, WORKERS = "KEDGE_BENCH_MODEL", "KEDGE_BENCH_WORKERS"  # a folder; a number
MOST_BATCH = 32

Square = NDArray[np.uint8]


class Network:
    """A model folder, ready to answer. Needs no more than onnxruntime, numpy and Pillow."""

    def __init__(self) -> None:
        folder = Path(os.environ[MODEL])
        record = json.loads((folder / "artifact.json").read_text())
        self.classes: list[str] = record["classes"]
        self.preprocessing = Preprocessing.from_json(record["preprocessing"])
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = options.inter_op_num_threads = 1
        path = folder / "model.onnx"
        self._session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])

    def square(self, jpeg: bytes) -> Square:
        """An image as the network sees it, before normalisation."""
        return resize(decode_for(jpeg, self.preprocessing).pixels, self.preprocessing)

    def answers(self, squares: Sequence[Square]) -> list[dict[str, Any]]:
        """What callers get, for a batch."""
        batch = normalise(np.stack(squares), self.preprocessing)
        (logits,) = self._session.run(["logits"], {"images": batch})
        powers = np.exp(logits - logits.max(axis=1, keepdims=True))
        rows = (powers / powers.sum(axis=1, keepdims=True)).tolist()
        return [self._answer(row) for row in rows]

    def _answer(self, row: Sequence[float]) -> dict[str, Any]:
        best = max(range(len(row)), key=row.__getitem__)
        probabilities = dict(zip(self.classes, row, strict=True))
        return {"label": self.classes[best], "confidence": row[best], "probabilities": probabilities}


def seen(image: Image, preprocessing: Preprocessing) -> Square:
    """The same, of a JPEG that somebody opened already: decoded at a reduced scale where it is much larger."""
    least_side = 2 * preprocessing.image_size
    # None keeps the mode.
    image.draft(None, (least_side, least_side))
    return resize(np.asarray(image.convert("RGB")), preprocessing)
