"""All detectors over one window: ours, and those that the settings name."""

import importlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from monitoring.batch import Batch
from monitoring.detectors import embedding, metadata, outputs, pictures, predicted_mix
from monitoring.detectors.detection import Detection, Detector
from monitoring.reference import ReferenceProfile

OURS: Mapping[str, Detector] = {
    pictures.FAMILY: pictures.detect,
    embedding.FAMILY: embedding.detect,
    outputs.FAMILY: outputs.detect,
    predicted_mix.FAMILY: predicted_mix.detect,
    metadata.FAMILY: metadata.detect,
}


@dataclass(frozen=True)
class Detected:
    """
    What every detector said.

    Attributes:
        detections: Ours, then the users'.
        added: The users' alone.
        notes: Which detector could not be loaded or broke, and why, each a sentence.
    """

    detections: tuple[Detection, ...]
    added: tuple[Detection, ...]
    notes: tuple[str, ...]


def detect(profile: ReferenceProfile, batch: Batch, added: Sequence[str] = ()) -> Detected:
    """
    Run all detectors.

    added: users' own, each as "package.module:function"; one that is broken is named in the notes and stops nothing.
    """
    detections = [one for detector in OURS.values() for one in detector(profile, batch)]
    theirs: list[Detection] = []
    notes = []
    for address in added:
        try:
            theirs += _checked(_loaded(address)(profile, batch))
        except Exception as broken:  # noqa: BLE001 - whatever a user's code does, the watch goes on
            notes.append(f"The detector {address} is left out: {type(broken).__name__}: {broken}")
    return Detected((*detections, *theirs), tuple(theirs), tuple(notes))


def _loaded(address: str) -> Detector:
    module, _, function = address.partition(":")
    if not module or not function:
        raise ValueError("it should be named as package.module:function")
    found: Detector = getattr(importlib.import_module(module), function)
    return found


def _checked(found: object) -> list[Detection]:
    if not isinstance(found, Sequence) and not hasattr(found, "__iter__"):
        raise TypeError(f"it gave {type(found).__name__}, not detections")
    detections = list(found)
    for one in detections:
        if not isinstance(one, Detection):
            raise TypeError(f"it gave {type(one).__name__}, not a Detection")
        if not (0 <= one.p_value <= 1 and 0 <= one.effect <= 1 and np.isfinite(one.statistic)):
            raise ValueError(f"{one.name} has an effect or p-value outside 0..1, or a statistic that is no number")
    return detections
