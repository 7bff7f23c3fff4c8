"""How often each class is the answer."""

from monitoring.detectors import mixes
from monitoring.detectors.columns import Categories
from monitoring.detectors.detection import Detection
from monitoring.reference.profile import ReferenceProfile
from monitoring.watching.batch import Batch

FAMILY = "predicted mix"


def detect(profile: ReferenceProfile, batch: Batch) -> list[Detection]:
    """The mix of predicted classes (BBSDh)."""
    return mixes.compare(columns(profile, batch))


def columns(profile: ReferenceProfile, batch: Batch) -> list[Categories]:
    labels = batch.coded_labels
    counts = profile.plain.coded_labels.counts()
    return [Categories(FAMILY, "predicted class", counts, labels.counts(), labels.codes, labels.values)]
