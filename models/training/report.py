"""What a finished training job says of itself: `candidate/training.json`."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from infra.errors import UserError
from infra.files import write_atomically
from models.preprocessing import Preprocessing
from models.training.plan import TrainingPlan, plan_from_json
from models.training.standing import StageOutcome


@dataclass(frozen=True)
class TrainingReport:
    """
    Attributes:
        preprocessing: as it was trained with, the network's own values filled in.
        licence: of the weights it started from; "none" when from scratch, "unknown" when nobody said.
        remark: what a person should know of its start; empty when all went as planned.
        interpolation: how far from the start to the result its weights lie, 0..1; 1 = the result itself.
        data_fingerprint: of the bytes, labels and roles of the images for training and selection.
        images: counts by "role", by "source" and, of training images, by "class".
        parameters: of the network.
        trained_at: ISO 8601, UTC.
        seconds: of training, over all resumptions.
        libraries: versions that had a part in the weights.
    """

    plan: TrainingPlan
    preprocessing: Preprocessing
    licence: str
    data_fingerprint: str
    images: Mapping[str, Mapping[str, int]]
    stages: tuple[StageOutcome, ...]
    select_macro_recall: float
    select_accuracy: float
    parameters: int
    seconds: float
    trained_at: str
    libraries: Mapping[str, str]
    remark: str = ""
    interpolation: float = 1.0

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "plan": self.plan.to_json(), "preprocessing": self.preprocessing.to_json()}


def write_report(report: TrainingReport, candidate: Path) -> None:
    """Write training.json; it comes last, so its existence means that training has finished."""
    write_atomically(candidate / "training.json", json.dumps(report.to_json(), indent=2) + "\n")


def read_report(candidate: Path) -> TrainingReport:
    """
    The report of a finished job.

    Raises:
        UserError: training has not finished there.
    """
    try:
        value = json.loads((candidate / "training.json").read_text())
    except FileNotFoundError as problem:
        raise UserError(f"training has not finished: {candidate} has no training.json") from problem
    return TrainingReport(
        **{
            **value,
            "plan": plan_from_json(value["plan"]),
            "preprocessing": Preprocessing.from_json(value["preprocessing"]),
            "stages": tuple(StageOutcome(**stage) for stage in value["stages"]),
        }
    )
