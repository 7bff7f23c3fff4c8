"""All detectors over one window: ours, and those that the settings name."""

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from monitoring.detectors import embedding, metadata, outputs, pictures, predicted_mix
from monitoring.detectors.detection import Detection, Detector
from monitoring.detectors.own import ask
from monitoring.reference.profile import ReferenceProfile
from monitoring.watching.batch import Batch

OURS: Mapping[str, Detector] = {
    pictures.FAMILY: pictures.detect,
    embedding.FAMILY: embedding.detect,
    outputs.FAMILY: outputs.detect,
    predicted_mix.FAMILY: predicted_mix.detect,
    metadata.FAMILY: metadata.detect,
}

_MOST_LETTERS = 300


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

    added: users' own, each by its address (`monitoring.detectors.own`); one that is broken is named in the notes and
        stops nothing.
    """
    detections = [one for detector in OURS.values() for one in detector(profile, batch)]
    theirs: list[Detection] = []
    notes = []
    for address in added:
        try:
            theirs += ask(address, profile, batch)
        except (Exception, SystemExit) as broken:  # noqa: BLE001 - whatever a user's code does, the watch goes on
            notes.append(f"The detector {address} is left out: {_words(broken)}.")
    return Detected((*detections, *theirs), tuple(theirs), tuple(notes))


def _words(broken: BaseException) -> str:
    """One line, and where it was raised: the first thing that whoever wrote the detector wants to know."""
    last = traceback.extract_tb(broken.__traceback__)[-1]
    words = " ".join(f"{type(broken).__name__}: {broken}".split())[:_MOST_LETTERS]
    where = "" if last.filename.startswith("<") else f" ({Path(last.filename).name}, line {last.lineno})"
    return f"{words}{where}"
