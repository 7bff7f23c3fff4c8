"""A classifier of four kinds whose reference and windows are drawn at once, with a known mix and a known change."""

from collections.abc import Sequence

import numpy as np

from monitoring.image_stats import NAMES
from monitoring.reference.fit import fit
from monitoring.reference.profile import ReferenceProfile
from monitoring.watching.batch import Batch

KINDS = ("crow", "duck", "owl", "wren")
EVEN = (0.25, 0.25, 0.25, 0.25)
_CENTRES = np.random.default_rng(5).normal(0, 1.6, (len(KINDS), 8))


def drawn(
    count: int, mix: Sequence[float] = EVEN, *, moved: float = 0.0, seed: int = 0
) -> tuple[Batch, tuple[str, ...]]:
    """Answers of the best possible classifier for unmoved pictures, and what they show."""
    chance = np.random.default_rng(seed)
    truth = chance.choice(len(KINDS), count, p=np.array(mix) / sum(mix))
    embedding = _CENTRES[truth] + chance.normal(0, 1, (count, 8)) + moved * np.array([1, -1, 1, -1, 0, 0, 0, 0])
    logits = -((embedding[:, None, :] - _CENTRES) ** 2).sum(axis=2) / 2
    likelihood = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = likelihood / likelihood.sum(axis=1, keepdims=True)
    batch = Batch(
        statistics=chance.normal(0.5, 0.1, (count, len(NAMES))),
        probabilities=probabilities,
        embedding=embedding,
        labels=tuple(KINDS[place] for place in probabilities.argmax(axis=1)),
        metadata=({},) * count,
    )
    return batch, tuple(KINDS[place] for place in truth)


def reference(count: int = 600, mix: Sequence[float] = EVEN, classes: Sequence[str] = KINDS) -> ReferenceProfile:
    batch, truth = drawn(count, mix, seed=1_000)
    return fit(batch, truth, version=1, classes=classes, rounds=1, judged_errors={"overall": (10, 200)})
