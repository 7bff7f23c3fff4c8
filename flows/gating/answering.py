"""What versions answer to judge images, in terms of one list of classes, so that they can be compared."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from flows.collecting.images import read_image
from flows.gating.judge_set import JudgeImages
from flows.workplace import Workplace
from models.evaluation import Judged, evaluate
from models.gate_records import Answers
from models.registry import ModelVersion
from models.runtime import Runtime


def judged_on(place: Workplace, runtime: Runtime, images: JudgeImages) -> Judged | None:
    """A model's answers to these images, through the graph that serves; None where there are none."""
    if not images.examples:
        return None
    return evaluate(runtime, images.examples, lambda one: read_image(place, one))


def answers_of(judged: Judged, images: JudgeImages) -> Answers:
    """A model's answers as the gate takes them."""
    return Answers(
        fingerprint=judged.fingerprint,
        classes=judged.classes,
        truth=judged.labels,
        answer=judged.predictions,
        confidence=judged.probabilities.max(axis=1).astype(np.float64),
        groups=judged.groups,
        metadata=judged.metadata,
        asked_for=images.asked_for,
        by_chance=images.by_chance,
    )


def answers_of_version(
    place: Workplace, version: ModelVersion, images: JudgeImages, classes: Sequence[str]
) -> Answers | None:
    """
    A registered version's answers, numbered as `classes`.

    None where there are no images, where it lacks a class that they bear, or where it has one that `classes` lacks.
    """
    runtime = _runtime(place, version)
    own = runtime.artifact.classes
    if not {one.label for one in images.examples} <= set(own) or not set(own) <= set(classes):
        return None
    judged = judged_on(place, runtime, images)
    if judged is None:
        return None
    number = np.array([tuple(classes).index(name) for name in own], dtype=np.int64)
    found = answers_of(judged, images)
    return replace(found, classes=tuple(classes), truth=number[found.truth], answer=number[found.answer])


def comparable_classes(place: Workplace, version: ModelVersion, classes: Sequence[str]) -> tuple[str, ...] | None:
    """The version's classes; None where they are not all among `classes`, for then nothing can be compared."""
    own = tuple(_runtime(place, version).artifact.classes)
    return own if set(own) <= set(classes) else None


def _runtime(place: Workplace, version: ModelVersion) -> Runtime:
    return Runtime.open(place.registry.fetch(version.version, place.fetched))
