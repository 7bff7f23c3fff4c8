"""How good a model is on a set of images: overall, per class, per subgroup, and how honest its confidence."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.bootstrap import Interval, resample_groups
from models.calibration import ConfidenceBin, at_temperature_one, calibration_error, confidence_bins
from models.evaluation import Judged
from models.intervals import wilson

_TOP = (1, 3, 5)


@dataclass(frozen=True)
class ClassScore:
    """
    One class. Scores are in 0..1, intervals at 95 %; None where no image bears the label, for then nothing is known.

    Attributes:
        images: that bear the label.
        precision: 0 where the class was never answered; it has no interval then.
        precision_interval: Wilson's; the recall's likewise.
        f1_interval: over groups drawn anew.
    """

    label: str
    images: int
    precision: float | None
    recall: float | None
    f1: float | None
    precision_interval: Interval | None = None
    recall_interval: Interval | None = None
    f1_interval: Interval | None = None


@dataclass(frozen=True)
class SubgroupScore:
    """
    One value of one metadata column.

    Attributes:
        interval: Wilson's, of the accuracy, at 95 %.
        macro_recall: over the classes that occur in the subgroup; so are the other macro scores.
        calibration_error: as the scorecard's.
    """

    column: str
    value: str
    images: int
    accuracy: float
    interval: Interval
    macro_recall: float
    macro_precision: float | None = None
    macro_f1: float | None = None
    calibration_error: float | None = None


@dataclass(frozen=True)
class TopScore:
    """The share of images whose label is among the `answers` most probable ones; Wilson's interval at 95 %."""

    answers: int
    share: float
    interval: Interval


@dataclass(frozen=True)
class Scorecard:
    """
    A model's scores on one set of images. Scores that came later are None, or empty, where an older version lacks them.

    Attributes:
        fingerprint: of those images; scores with different ones are not to be compared.
        interval: Wilson's, of the accuracy, at 95 %.
        macro_precision: mean over classes that have images; so are the other macro scores.
        confusion: images by [label][answer], in the order of per_class.
        calibration_error: mean gap between confidence and accuracy over 15 bins, weighted by their images.
        weighted_precision: mean over classes, weighted by their images; so are the other weighted scores.
        accuracy_interval: at 95 %, over groups drawn anew; so are the macro scores' intervals.
        top: for 1, 3 and 5 answers, as far as there are more classes than that.
        temperature: of the answers; `calibration_error_before` and `bins_before` are of temperature 1.
        latency_ms: CPU milliseconds for one image on one core.
        size_mb: of the graph that serves, 10⁶ bytes.
    """

    images: int
    fingerprint: str
    accuracy: float
    interval: Interval
    macro_precision: float
    macro_recall: float
    macro_f1: float
    per_class: tuple[ClassScore, ...]
    confusion: tuple[tuple[int, ...], ...]
    calibration_error: float
    subgroups: tuple[SubgroupScore, ...]
    groups: int | None = None
    weighted_precision: float | None = None
    weighted_recall: float | None = None
    weighted_f1: float | None = None
    accuracy_interval: Interval | None = None
    macro_recall_interval: Interval | None = None
    macro_f1_interval: Interval | None = None
    top: tuple[TopScore, ...] = ()
    temperature: float | None = None
    calibration_error_before: float | None = None
    bins: tuple[ConfidenceBin, ...] = ()
    bins_before: tuple[ConfidenceBin, ...] = ()
    latency_ms: float | None = None
    size_mb: float | None = None

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, value: Mapping[str, Any]) -> "Scorecard":
        parts = {"per_class": ClassScore, "subgroups": SubgroupScore, "top": TopScore}
        parts |= {"bins": ConfidenceBin, "bins_before": ConfidenceBin}
        read: dict[str, Any] = {key: _tupled(item) for key, item in value.items()}
        for key, kind in parts.items():
            read[key] = tuple(kind(**{name: _tupled(item) for name, item in one.items()}) for one in value.get(key, ()))
        return cls(**read)


def score(
    judged: Judged,
    subgroups: Sequence[str] = (),
    *,
    temperature: float = 1.0,
    latency_ms: float | None = None,
    size_mb: float | None = None,
) -> Scorecard:
    """
    The scorecard of a model's answers.

    subgroups: metadata columns whose values are scored one by one; temperature: that the probabilities have.
    """
    confusion = _confusion(judged.labels, judged.predictions, len(judged.classes))
    resampled = resample_groups(judged.labels, judged.predictions, judged.groups, len(judged.classes))
    per_class = _class_scores(judged.classes, confusion, resampled.f1)
    right = judged.labels == judged.predictions
    confidence = judged.probabilities.max(axis=1)
    before = at_temperature_one(judged.probabilities, temperature).max(axis=1)
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
        calibration_error=calibration_error(confidence, right),
        subgroups=tuple(
            _subgroup_score(judged, column, value)
            for column in subgroups
            for value in sorted({row.get(column, "") for row in judged.metadata})
        ),
        groups=len(set(judged.groups)),
        weighted_precision=_weighted((entry.images, entry.precision) for entry in per_class),
        weighted_recall=_weighted((entry.images, entry.recall) for entry in per_class),
        weighted_f1=_weighted((entry.images, entry.f1) for entry in per_class),
        accuracy_interval=resampled.accuracy,
        macro_recall_interval=resampled.macro_recall,
        macro_f1_interval=resampled.macro_f1,
        top=_top_scores(judged),
        temperature=temperature,
        calibration_error_before=calibration_error(before, right),
        bins=confidence_bins(confidence, right),
        bins_before=confidence_bins(before, right),
        latency_ms=latency_ms,
        size_mb=size_mb,
    )


def _confusion(labels: NDArray[np.int64], answers: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    counts = np.bincount(labels * classes + answers, minlength=classes * classes)
    return counts.reshape(classes, classes)


def _class_scores(
    classes: Sequence[str], confusion: NDArray[np.int64], f1_intervals: Sequence[Interval | None]
) -> tuple[ClassScore, ...]:
    found = []
    for number, label in enumerate(classes):
        hits = int(confusion[number, number])
        images, answered = int(confusion[number].sum()), int(confusion[:, number].sum())
        if images == 0:
            found.append(ClassScore(label, 0, None, None, None))
            continue
        scores = (hits / answered if answered else 0.0), hits / images, 2 * hits / (images + answered)
        intervals = wilson(hits, answered) if answered else None, wilson(hits, images), f1_intervals[number]
        found.append(ClassScore(label, images, *scores, *intervals))
    return tuple(found)


def _top_scores(judged: Judged) -> tuple[TopScore, ...]:
    own = judged.probabilities[np.arange(len(judged)), judged.labels]
    # Of equally probable classes the first counts as the answer, as argmax has it.
    ahead = (judged.probabilities > own[:, None]).sum(axis=1)
    ties = judged.probabilities == own[:, None]
    ahead += (ties & (np.arange(len(judged.classes)) < judged.labels[:, None])).sum(axis=1)
    found = []
    for answers in _TOP:
        if answers == 1 or answers < len(judged.classes):
            hits = int((ahead < answers).sum())
            found.append(TopScore(answers, hits / len(judged), wilson(hits, len(judged))))
    return tuple(found)


def _subgroup_score(judged: Judged, column: str, value: str) -> SubgroupScore:
    chosen = np.array([row.get(column, "") == value for row in judged.metadata])
    labels, answers = judged.labels[chosen], judged.predictions[chosen]
    right = labels == answers
    classes = len(judged.classes)
    per_class = _class_scores(judged.classes, _confusion(labels, answers, classes), [None] * classes)
    return SubgroupScore(
        column=column,
        value=value,
        images=len(labels),
        accuracy=float(right.mean()),
        interval=wilson(int(right.sum()), len(right)),
        macro_recall=_mean(entry.recall for entry in per_class),
        macro_precision=_mean(entry.precision for entry in per_class),
        macro_f1=_mean(entry.f1 for entry in per_class),
        calibration_error=calibration_error(judged.probabilities[chosen].max(axis=1), right),
    )


def _mean(values: Iterable[float | None]) -> float:
    return float(np.mean([value for value in values if value is not None]))


def _weighted(scores: Iterable[tuple[int, float | None]]) -> float:
    known = [(images, value) for images, value in scores if value is not None]
    return float(np.average([value for _, value in known], weights=[images for images, _ in known]))


def _tupled(value: Any) -> Any:
    return tuple(_tupled(item) for item in value) if isinstance(value, list | tuple) else value
