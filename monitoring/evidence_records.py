"""The lanes of evidence, their detectors, and what each has gathered."""

from collections.abc import Mapping
from dataclasses import dataclass, field

GROSS = "gross"
HARM = "labelled harm"
BLOCKS = "blocks"
LANES = (GROSS, HARM, BLOCKS)
CHANNELS = ("image statistics", "embedding", "output uncertainty", "metadata")
BLOCK_DETECTORS = ("outputs", "embedding", "image statistics", "mix")
# Powers of a rank, each with its e-value k p^(k - 1): the smaller k, the more it hopes for the very lowest ranks.
BLOCK_BETS = (0.1, 0.25, 0.5)


@dataclass(frozen=True)
class EvidenceSettings:
    """
    What the person in charge decided.

    Attributes:
        false_alarms_per_quarter: Budget over all lanes.
        harm_tolerance: Error above the champion's upper bound that is still fine, 0..1.
        atypical_share: Share of atypical images that is still fine, 0..1; above any benign day, not "no change".
        burn_in_blocks: Blocks the block lane needs before it can rank anything.
    """

    false_alarms_per_quarter: float = 1.0
    harm_tolerance: float = 0.02
    atypical_share: float = 0.20
    burn_in_blocks: int = 14


@dataclass(frozen=True)
class Observation:
    """
    One unit of one lane.

    Attributes:
        number: Counts up within the lane; one that was already applied changes nothing.
        values: Detector name and value in 0..1 (1 = atypical, or an error; of a block its rank, small when it is far
            off). A detector that is not named, or whose value is not a finite number, is left as it was.
    """

    lane: str
    number: int
    values: tuple[tuple[str, float], ...]


@dataclass(frozen=True)
class Detector:
    """
    One statistic of one lane.

    Attributes:
        null: Largest mean of the values that counts as no change, 0..1; of ranks, their mean without a change.
        bets: Means it bets on, each above `null`; of ranks, powers.
        log_r: Natural logarithm of the Shiryaev-Roberts statistic, one per bet; -inf before the first value.
        units: Values seen since the reset.
        total: Sum of those values.
        alarmed_at: Number of the observation that first reached the threshold; None while it has not.
    """

    lane: str
    name: str
    null: float
    bets: tuple[float, ...]
    log_r: tuple[float, ...]
    units: int = 0
    total: float = 0.0
    alarmed_at: int | None = None


@dataclass(frozen=True)
class EvidenceState:
    """
    All detectors of one champion since its last reset.

    Attributes:
        units_per_quarter: Per lane, fixed at the reset from the trailing rate.
        last_number: Per lane, the number of the newest observation applied; 0 before the first.
        blocks: Blocks that can be ranked against.
        reset_reason: In words, why the state began anew.
        block_words: What the block lane can do, in words; "" before its first block.
    """

    model_version: int
    reset_reason: str
    detectors: tuple[Detector, ...]
    units_per_quarter: Mapping[str, float]
    last_number: Mapping[str, int]
    blocks: int = 0
    block_words: str = ""


@dataclass(frozen=True)
class DetectorEvidence:
    """Evidence of one detector, as drawn: an alarm once `log10_evidence` has reached `log10_threshold`."""

    lane: str
    detector: str
    log10_evidence: float
    log10_threshold: float
    units: int
    mean: float
    null: float
    alarmed_at: int | None


@dataclass(frozen=True)
class Evidence:
    """
    The state in figures.

    Attributes:
        new_alarms: Detectors that reached their threshold during this update.
        block_lane: In words, what the block lane can do so far.
        lanes: Lane to what it can do so far, in words.
    """

    detectors: tuple[DetectorEvidence, ...]
    new_alarms: tuple[DetectorEvidence, ...]
    block_lane: str
    lanes: Mapping[str, str] = field(default_factory=dict)

    def alarms(self, lane: str) -> tuple[DetectorEvidence, ...]:
        """Every detector of the lane that has alarmed since the reset."""
        return tuple(found for found in self.detectors if found.lane == lane and found.alarmed_at is not None)
