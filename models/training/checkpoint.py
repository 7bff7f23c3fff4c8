"""The standing of a job on disk, so that a killed one goes on as if nothing had happened."""

import json
import os
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import nn

from infra.errors import UserError
from models.training.averaging import RunningMean
from models.training.plan import TrainingPlan
from models.training.selection import SelectScore
from models.training.standing import Best, StageOutcome, Standing

# These may differ between a job and its resumption: they say where and how long, not what.
_FREE = frozenset({"budget_minutes", "device", "threads", "reason", "name", "cache_mb", "features_dir", "compile"})


def save(
    path: Path,
    standing: Standing,
    plan: TrainingPlan,
    data: str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    mean: RunningMean | None = None,
) -> None:
    """Write all of it as one file that is whole or absent."""
    content = {
        "plan": json.dumps(plan.to_json()),
        "data": data,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "mean": mean.state() if mean else None,
        "best": {"score": vars(standing.best.score), "weights": standing.best.weights},
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
    path: Path,
    plan: TrainingPlan,
    data: str,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    mean: RunningMean | None = None,
) -> Standing | None:
    """
    Put model, optimizer and running mean back to where they stood; None where there is no checkpoint.

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
    if mean and content["mean"]:
        mean.restore(content["mean"])
    best = content["best"]
    return replace(
        Standing(best=Best(SelectScore(**best["score"]), best["weights"]), **content["standing"]),
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
