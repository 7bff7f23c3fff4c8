"""Golden answers: what a model said to a few fixed images when it was judged, and whether it says so here, too."""

import hashlib
from dataclasses import dataclass

import numpy as np

from models.artifact import ArtifactCorrupt, Golden
from models.images import Pixels
from models.preprocessing import normalise
from models.runtime import Runtime

# In 32 bits, machines, builds and providers differ by some 1e-6; another graph, or an operator that is wrong here,
# by far more. Ten times what an export may differ by: never crossed by rounding.
MOST_GOLDEN_GAP = 1e-3

_SEED = b"golden squares, first edition"


@dataclass(frozen=True)
class GoldenCheck:
    """
    What asking for the golden answers showed.

    Attributes:
        gap: largest difference of a probability, or of an embedding's length relative to it; None where nothing
            could be compared.
        words: the same for a person.
    """

    gap: float | None
    words: str


def golden_squares(size: int) -> Pixels:
    """
    Four images, uint8 (4, S, S, 3): a flat grey, colours that run into each other, a chequer of bars, and noise.

    They are drawn by whole numbers and a hash, so that no library's version changes them. Nobody's pictures: an
    artifact travels, may be published and is never forgotten, so it holds no image that a person might ask to delete.
    """
    places = np.arange(size)
    ramp = (places * 255 // max(1, size - 1)).astype(np.uint8)
    down, across = np.broadcast_to(ramp[:, None], (size, size)), np.broadcast_to(ramp, (size, size))
    bars = np.where((places[:, None] // 4 + places // 7) % 2 == 0, 30, 220).astype(np.uint8)
    noise = np.frombuffer(hashlib.shake_256(_SEED).digest(size * size * 3), dtype=np.uint8)
    return np.stack(
        [
            np.full((size, size, 3), 128, dtype=np.uint8),
            np.stack([down, across, 255 - down], axis=2),
            np.repeat(bars[..., None], 3, axis=2),
            noise.reshape(size, size, 3),
        ]
    )


def golden_of(runtime: Runtime) -> Golden:
    """What this model answers, to be kept in its artifact; asked one by one, as the shortest queue would."""
    squares = golden_squares(runtime.artifact.preprocessing.image_size)
    batches = normalise(squares, runtime.artifact.preprocessing)[:, None]
    outputs = [runtime.run(batch) for batch in batches]
    return Golden(
        inputs_sha256=_sha256_of(squares),
        probabilities=tuple(tuple(output.probabilities[0].tolist()) for output in outputs),
        embedding_lengths=tuple(float(np.linalg.norm(output.embedding[0])) for output in outputs),
    )


def check_golden(runtime: Runtime) -> GoldenCheck:
    """
    Compare what the model answers here with what it answered when it was judged.

    An artifact from before there were golden answers is not compared, nor one whose images this release no longer
    draws: `gap` is None and the words say so.

    Raises:
        ArtifactCorrupt: it answers otherwise; it is not to be served from this machine.
    """
    golden = runtime.artifact.golden
    if golden is None:
        return GoldenCheck(None, "not compared: the artifact was exported before golden answers were kept")
    squares = golden_squares(runtime.artifact.preprocessing.image_size)
    if _sha256_of(squares) != golden.inputs_sha256:
        return GoldenCheck(None, "not compared: this release of Kedge draws other golden images")
    # All at once this time: a graph that mixes up the images of a batch shows here as well.
    outputs = runtime.run(normalise(squares, runtime.artifact.preprocessing))
    expected = np.array(golden.probabilities, dtype=np.float64)
    lengths = np.array(golden.embedding_lengths, dtype=np.float64)
    if outputs.probabilities.shape != expected.shape:
        raise ArtifactCorrupt(
            f"the model gives {outputs.probabilities.shape[1]} probabilities for each image, and gave "
            f"{expected.shape[1]} when it was judged; fetch this version again"
        )
    found = np.linalg.norm(outputs.embedding.astype(np.float64), axis=1)
    gaps = np.concatenate(
        [np.abs(outputs.probabilities - expected).ravel(), np.abs(found - lengths) / np.maximum(lengths, 1e-12)]
    )
    gap = float(gaps.max())
    # Written so that a gap which is no number is refused too.
    if not gap <= MOST_GOLDEN_GAP:
        raise ArtifactCorrupt(
            f"the model does not answer on this machine as it did when it was judged: its golden answers differ by "
            f"{gap:.2g}, at most {MOST_GOLDEN_GAP} is rounding. Export it again if the file was replaced; otherwise "
            "this build of onnxruntime, or its provider, computes something wrong"
        )
    return GoldenCheck(gap, f"answers here as when it was judged, within {gap:.1e}")


def _sha256_of(squares: Pixels) -> str:
    return hashlib.sha256(squares.tobytes()).hexdigest()
