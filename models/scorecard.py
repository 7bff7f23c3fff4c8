"""How good a model is on a set of images: overall, per class, per subgroup, and how honest its confidence."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.evaluation import Judged
from models.intervals import wilson

_BINS = 15


@dataclass(frozen=True)
class ClassScore:
    """
    One class. Scores are in 0..1; None where no image bears the label, for then nothing is known.

    Attributes:
        images: that bear the label.
        precision: 0 where the class was never answered.
    """

    label: str
    images: int
    precision: float | None
    recall: float | None
    f1: float | None


@dataclass(frozen=True)
class SubgroupScore:
    """
    One value of one metadata column.

    Attributes:
        interval: Wilson's, of the accuracy, at 95 %.
        macro_recall: over the classes that occur in the subgroup.
    """

    column: str
    value: str
    images: int
    accuracy: float
    interval: tuple[float, float]
    macro_recall: float


@dataclass(frozen=True)
class Scorecard:
    """
    A model's scores on one set of images.

    Attributes:
        fingerprint: of those images; scores with different ones are not to be compared.
        interval: Wilson's, of the accuracy, at 95 %.
        macro_precision: mean over classes that have images; so are the other macro scores.
        confusion: images by [label][answer], in the order of per_class.
        calibration_error: mean gap between confidence and accuracy over 15 bins, weighted by their images.
    """

    images: int
    fingerprint: str
    accuracy: float
    interval: tuple[float, float]
    macro_precision: float
    macro_recall: float
    macro_f1: float
    per_class: tuple[ClassScore, ...]
    confusion: tuple[tuple[int, ...], ...]
    calibration_error: float
    subgroups: tuple[SubgroupScore, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Scorecard":
        return cls(
            **{
                **value,
                "interval": tuple(value["interval"]),
                "per_class": tuple(ClassScore(**entry) for entry in value["per_class"]),
                "confusion": tuple(tuple(row) for row in value["confusion"]),
                "subgroups": tuple(
                    SubgroupScore(**{**entry, "interval": tuple(entry["interval"])}) for entry in value["subgroups"]
                ),
            }
        )


def score(judged: Judged, subgroups: Sequence[str] = ()) -> Scorecard:
    """The scorecard of a model's answers; subgroups: metadata columns whose values are scored one by one."""
    confusion = _confusion(judged.labels, judged.predictions, len(judged.classes))
    per_class = tuple(_class_score(label, confusion, number) for number, label in enumerate(judged.classes))
    right = judged.labels == judged.predictions
    return Scorecard(
        images=len(judged),
        fingerprint=judged.fingerprint,
        accuracy=float(right.mean()),
        interval=wilson(int(right.sum()), len(right)),
        macro_precision=_mean(entry.precision for entry in per_class),
        macro_recall=_mean(entry.recall for entry in per_class),
        macro_f1=_mean(entry.f1 for entry in per_class),
        per_class=per_class,
        confusion=tuple(tuple(int(count) for count in row) for row in confusion),
        calibration_error=calibration_error(judged.probabilities.max(axis=1), right),
        subgroups=tuple(
            _subgroup_score(judged, column, value)
            for column in subgroups
            for value in sorted({row.get(column, "") for row in judged.metadata})
        ),
    )


def calibration_error(confidence: NDArray[np.float32], right: NDArray[np.bool_]) -> float:
    """
    Expected calibration error over 15 equally wide bins, 0..1; 0 is honest.

    confidence: probability of the answer, shape (N,).
    right: whether the answer was right, shape (N,).
    """
    bins = np.minimum((confidence.astype(np.float64) * _BINS).astype(np.int64), _BINS - 1)
    confident = np.bincount(bins, weights=confidence, minlength=_BINS)
    correct = np.bincount(bins, weights=right, minlength=_BINS)
    return float(np.abs(confident - correct).sum() / max(1, len(confidence)))


def _confusion(labels: NDArray[np.int64], answers: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    counts = np.bincount(labels * classes + answers, minlength=classes * classes)
    return counts.reshape(classes, classes)


def _class_score(label: str, confusion: NDArray[np.int64], number: int) -> ClassScore:
    hits = int(confusion[number, number])
    images, answered = int(confusion[number].sum()), int(confusion[:, number].sum())
    if images == 0:
        return ClassScore(label, 0, None, None, None)
    precision = hits / answered if answered else 0.0
    return ClassScore(label, images, precision, hits / images, 2 * hits / (images + answered))


def _subgroup_score(judged: Judged, column: str, value: str) -> SubgroupScore:
    chosen = np.array([row.get(column, "") == value for row in judged.metadata])
    labels, answers = judged.labels[chosen], judged.predictions[chosen]
    right = labels == answers
    return SubgroupScore(
        column=column,
        value=value,
        images=len(labels),
        accuracy=float(right.mean()),
        interval=wilson(int(right.sum()), len(right)),
        macro_recall=float(np.mean([right[labels == label].mean() for label in np.unique(labels)])),
    )


def _mean(values: Any) -> float:
    known = [value for value in values if value is not None]
    return float(np.mean(known))
