"""Labelled answers of a small world, for audits."""

import numpy as np

from monitoring.image_stats import NAMES
from monitoring.quality.labelled import LabelledAnswers


def answers(
    part: np.ndarray,
    accuracy: np.ndarray,
    *,
    column: str = "camera",
    classes: int = 2,
    chance: np.random.Generator,
    confidence: float = 0.9,
) -> LabelledAnswers:
    """A row for each entry of `part`, right with the accuracy beside it; light and the like are noise."""
    count = len(part)
    truth = chance.integers(classes, size=count)
    wrong = (truth + chance.integers(1, classes, size=count)) % classes
    answered = np.where(chance.random(count) < accuracy, truth, wrong)
    return LabelledAnswers(
        truth=tuple(f"bird {number}" for number in truth),
        answered=tuple(f"bird {number}" for number in answered),
        confidence=np.full(count, confidence),
        metadata=tuple({column: str(value)} for value in part),
        ids=tuple(f"id-{number}" for number in range(count)),
        images=tuple(f"{number:064x}" for number in range(count)),
        statistics=chance.uniform(0, 1, (count, len(NAMES))),
    )


def repeated(rows: LabelledAnswers, times: int) -> LabelledAnswers:
    """Every row several times, as copies of one session."""
    places = np.repeat(np.arange(len(rows)), times)
    return LabelledAnswers(
        truth=tuple(rows.truth[place] for place in places),
        answered=tuple(rows.answered[place] for place in places),
        confidence=rows.confidence[places],
        metadata=tuple(rows.metadata[place] for place in places),
        ids=tuple(f"id-{number}" for number in range(len(places))),
        images=tuple(f"{number:064x}" for number in range(len(places))),
        groups=tuple(f"session {place}" for place in places),
        statistics=rows.statistics[places],
    )
