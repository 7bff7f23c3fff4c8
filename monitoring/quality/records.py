"""What is known about a champion's answers: records, and their JSON."""

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from monitoring.estimates.corrected import Corrected
from monitoring.estimates.estimate import Estimate
from monitoring.performance import ClassPerformance, Interval
from monitoring.quality.maturity import Maturity, MaturityCurve, drawn
from monitoring.quality.over_time import Period
from monitoring.quality.reliability import Reliability


@dataclass(frozen=True)
class WithLabels:
    """Every label that came, whoever sent it; `random` says whether they stand for the traffic."""

    images: int
    right: int
    accuracy: Interval
    random: bool
    classes: tuple[ClassPerformance, ...]
    calibration: Reliability
    by_prediction: tuple[Period, ...]
    by_labelling: tuple[Period, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class WindowMaturity:
    """Of one closed window."""

    sequence: int
    ended_at: datetime
    maturity: Maturity


@dataclass(frozen=True)
class DrawnCut:
    """Where ADWIN would have cut: when the change began and when it was noticed, by the times of labelling."""

    began_at: datetime
    noticed_at: datetime
    error_before: float
    error_after: float


@dataclass(frozen=True)
class SubgroupCorrected:
    """A corrected estimate of one value of a subgroup column."""

    column: str
    value: str
    corrected: Corrected


@dataclass(frozen=True)
class PerformanceReport:
    """
    One champion since one moment.

    Attributes:
        without_labels: None where there is no reference profile or no prediction.
        with_asked_labels: The estimate that asked labels allow, or why they allow none; None as above.
        adwin: None where no label may measure: none was drawn by chance.
    """

    name: str
    version: int
    since: datetime
    present: datetime
    with_labels: WithLabels
    delay: MaturityCurve
    windows: tuple[WindowMaturity, ...]
    without_labels: Estimate | None
    with_asked_labels: Corrected | None
    subgroups: tuple[SubgroupCorrected, ...]
    adwin: tuple[DrawnCut, ...] | None
    notes: tuple[str, ...]


def to_json(report: PerformanceReport) -> dict[str, Any]:
    """For scripts: the curve of delays in sixty points, everything else as it is."""
    curve = [
        {"age_s": age.total_seconds(), "share": middle, "low": low, "high": high}
        for age, middle, low, high in drawn(report.delay)
    ]
    delay = {
        "predictions": report.delay.predictions,
        "labels": report.delay.labels,
        "final_share": report.delay.final_share,
        "median_delay_s": report.delay.median_delay_s,
        "horizon_s": report.delay.horizon_s,
        "early": report.delay.early,
        "curve": curve,
    }
    listed = {name: value for name, value in vars(report).items() if name != "delay"}
    facts = {name: _plain(value) for name, value in listed.items()}
    windows = [
        {**facts_of, "words": one.maturity.words}
        for facts_of, one in zip(facts["windows"], report.windows, strict=True)
    ]
    return {**facts, "windows": windows, "delay": delay}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(one) for one in value]
    return asdict(value) if hasattr(value, "__dataclass_fields__") else value
