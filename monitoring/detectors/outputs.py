"""The model's answers: each class's probability, confidence and entropy."""

import numpy as np

from monitoring.detectors import kolmogorov_smirnov
from monitoring.detectors.columns import Numbers
from monitoring.detectors.detection import Detection
from monitoring.reference.profile import ReferenceProfile
from monitoring.watching.batch import Batch

FAMILY = "outputs"
_MOST_CLASSES = 20


def detect(profile: ReferenceProfile, batch: Batch) -> list[Detection]:
    """
    Black-box shift detection on soft outputs (BBSDs).

    Source: Rabanser, Günnemann & Lipton, Failing Loudly, 2019, section 3.
    """
    return kolmogorov_smirnov.compare(columns(profile, batch))


def columns(profile: ReferenceProfile, batch: Batch) -> list[Numbers]:
    """Confidence, entropy, and the probability of each class: of the twenty most frequent, and of all others."""
    plain = profile.plain
    found = [
        Numbers(FAMILY, "confidence", plain.confidence, batch.confidence),
        Numbers(FAMILY, "entropy", plain.entropy, batch.entropy),
    ]
    if batch.probabilities.shape[1] != len(profile.classes):
        return found
    alone = commonest(profile)
    found += [
        Numbers(FAMILY, f"probability of {profile.classes[index]}", plain.probabilities[:, index],
                batch.probabilities[:, index])
        for index in alone
    ]  # fmt: skip
    rest = np.setdiff1d(np.arange(len(profile.classes)), alone)
    if len(rest):
        sums = plain.probabilities[:, rest].sum(axis=1), batch.probabilities[:, rest].sum(axis=1)
        found.append(Numbers(FAMILY, f"probability of {len(rest)} other classes", *sums))
    return found


def commonest(profile: ReferenceProfile) -> list[int]:
    """Places of the classes that the reference was most often given, at most twenty."""
    counts = profile.plain.coded_labels.counts()
    order = sorted(range(len(profile.classes)), key=lambda index: (-counts.get(profile.classes[index], 0), index))
    return order[:_MOST_CLASSES]
