"""Models whose confidences and truth are known: a profile of held-out answers, and windows of others."""

import numpy as np

from monitoring.image_stats import NAMES
from monitoring.reference.fit import fit
from monitoring.reference.profile import ReferenceProfile
from monitoring.watching.batch import Batch

CLASSES = ("crow", "duck", "owl")


def answers(
    chance: np.random.Generator, count: int, *, sharpness: float = 3.0, too_sure: float = 1.0, camera: str = "A"
) -> tuple[Batch, list[str]]:
    """
    Answers and the truth; the probabilities are exactly those with which each class is true, unless `too_sure`.

    Less sharpness makes doubtful pictures of them, as blur does; `too_sure` multiplies what the model believes.
    """
    logits = chance.normal(0, 1, (count, len(CLASSES)))
    logits[np.arange(count), chance.integers(0, len(CLASSES), count)] += sharpness
    logits *= 1.5
    honest = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    truth = (honest.cumsum(axis=1) < chance.random(count)[:, None]).sum(axis=1)
    powers = np.exp(too_sure * logits - (too_sure * logits).max(axis=1, keepdims=True))
    batch = Batch(
        statistics=chance.normal(0.5, 0.1, (count, len(NAMES))),
        probabilities=powers / powers.sum(axis=1, keepdims=True),
        embedding=chance.normal(0, 1, (count, 8)),
        labels=tuple(CLASSES[code] for code in logits.argmax(axis=1)),
        metadata=tuple({"camera": camera} for _ in range(count)),
    )
    return batch, [CLASSES[min(code, len(CLASSES) - 1)] for code in truth]


def profile_of(batch: Batch, truth: list[str]) -> ReferenceProfile:
    return fit(batch, truth, version=1, classes=CLASSES, rounds=1, judged_errors={})


def accuracy(batch: Batch, truth: list[str]) -> float:
    return float(np.mean([label == said for label, said in zip(truth, batch.labels, strict=True)]))
