"""The pictures themselves: light, contrast, focus, colour, noise, shape, size."""

from monitoring.detectors import kolmogorov_smirnov
from monitoring.detectors.columns import Numbers
from monitoring.detectors.detection import Detection
from monitoring.image_stats import NAMES
from monitoring.reference.profile import ReferenceProfile
from monitoring.watching.batch import Batch

FAMILY = "image statistics"


def detect(profile: ReferenceProfile, batch: Batch) -> list[Detection]:
    """Every image statistic that the profile was made with."""
    return kolmogorov_smirnov.compare(columns(profile, batch))


def columns(profile: ReferenceProfile, batch: Batch) -> list[Numbers]:
    plain = profile.plain
    return [
        Numbers(FAMILY, name, plain.statistics[:, index], batch.statistics[:, index])
        for index, name in enumerate(NAMES)
    ]
