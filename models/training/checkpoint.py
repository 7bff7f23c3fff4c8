"""Where training stands, so that a killed job goes on as if nothing had happened."""

import json
import os
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from infra.errors import UserError
from models.training.plan import TrainingPlan

# These may differ between a job and its resumption: they say where and how long, not what.
_FREE = frozenset({"budget_minutes", "device", "threads", "reason", "name"})


@dataclass(frozen=True)
class StageOutcome:
    """
    How a stage ended.

    Attributes:
        macro_recall: on *select*, of the weights it hands on; 0..1.
        ended: "early" (no better for a while), "epochs" (all of them done) or "budget".
    """

    name: str
    epochs: int
    macro_recall: float
    accuracy: float
    seconds: float
    ended: str


@dataclass(frozen=True)
class Best:
    """The best weights so far, by macro recall on *select*, then by its loss."""

    macro_recall: float
    accuracy: float
    loss: float
    weights: dict[str, Tensor]


@dataclass(frozen=True)
class Standing:
    """
    Where training stands between two epochs.

    Random numbers need no keeping: each epoch draws from generators seeded by (seed, stage, epoch).

    Attributes:
        stage: being trained, from 0; the number of stages when all are done.
        epoch: epochs of it that are done.
        epochs: planned for it; 0 until its first epoch has shown how long one takes.
        step: updates so far, over all stages.
        stage_recall: the best macro recall seen in this stage, which may start below the best of all.
        stage_loss: the lowest loss on *select* seen in this stage.
        waited: epochs since either got better.
        seconds: of training so far, over all stages and resumptions.
        stage_seconds: of those, in this stage.
    """

    best: Best
    stage: int = 0
    epoch: int = 0
    epochs: int = 0
    step: int = 0
    stage_recall: float = -1.0
    stage_loss: float = float("inf")
    waited: int = 0
    seconds: float = 0.0
    stage_seconds: float = 0.0
    outcomes: tuple[StageOutcome, ...] = field(default_factory=tuple)


def save(
    path: Path, standing: Standing, plan: TrainingPlan, data: str, model: nn.Module, optimizer: torch.optim.Optimizer
) -> None:
    """Write all of it as one file that is whole or absent."""
    content = {
        "plan": json.dumps(plan.to_json()),
        "data": data,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "best": vars(standing.best),
        "outcomes": [vars(outcome) for outcome in standing.outcomes],
        "standing": {key: value for key, value in vars(standing).items() if key not in ("best", "outcomes")},
    }
    draft = path.with_suffix(".draft")
    with draft.open("wb") as file:
        torch.save(content, file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def load(
    path: Path, plan: TrainingPlan, data: str, model: nn.Module, optimizer: torch.optim.Optimizer
) -> Standing | None:
    """
    Put model and optimizer back to where they stood; None where there is no checkpoint.

    Raises:
        UserError: the checkpoint is damaged, or of another plan or other images.
    """
    if not path.is_file():
        return None
    try:
        content: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as problem:  # damaged bytes make the unpickler fail in any way, down to a KeyError
        raise UserError(
            f"{path} is damaged ({type(problem).__name__}: {problem}); delete it to start this job afresh"
        ) from problem
    _same_plan(path, json.loads(content["plan"]), plan)
    if content["data"] != data:
        raise UserError(f"{path} was made with other images; delete it to start this job afresh")
    model.load_state_dict(content["model"])
    optimizer.load_state_dict(content["optimizer"])
    return replace(
        Standing(best=Best(**content["best"]), **content["standing"]),
        outcomes=tuple(StageOutcome(**outcome) for outcome in content["outcomes"]),
    )


def _same_plan(path: Path, before: dict[str, Any], plan: TrainingPlan) -> None:
    now = json.loads(json.dumps(plan.to_json()))
    changed = [
        f"{key}: was {before.get(key)!r}, is {value!r}"
        for key, value in now.items()
        if key not in _FREE and before.get(key) != value
    ]
    if changed:
        raise UserError(
            f"{path} belongs to another plan:\n  "
            + "\n  ".join(changed)
            + "\nrestore plan.json, or delete the checkpoint to start this job afresh"
        )
