"""What a training job is to do: `plan.json` in its run directory."""

import dataclasses
import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from infra.errors import UserError
from infra.files import write_atomically

STRATEGIES = ("staged", "full", "head", "scratch")
AUGMENTATIONS = ("none", "light", "strong")
DEVICES = ("auto", "cpu", "cuda")
PRETRAINED = "pretrained:"


@dataclass(frozen=True)
class TrainingPlan:
    """
    Everything a training job needs to know besides its images.

    Attributes:
        backbone: a timm network.
        options: further arguments of `timm.create_model`.
        classes: sorted; their order is the order of the network's outputs.
        image_size: pixels a side; 0 = the network's own.
        mean: per channel in 0..1; empty = the network's own.
        std: per channel in 0..1; empty = the network's own.
        interpolation: bilinear or bicubic; empty = the network's own.
        start: "scratch", "timm" (its pretrained weights), "champion" (start.safetensors in the run
            directory) or "pretrained:<path of a weights file>".
        strategy: staged (head first, then downwards), full, head or scratch.
        most_epochs_per_stage: a stage ends here at the latest.
        patience_epochs: a stage ends after so many epochs without a better macro recall on *select*.
        learning_rate: of the head; lower groups get less.
        budget_minutes: of training in all, shared by the stages; what is found by then is the result.
        threads: of the CPU; 0 = as many as torch takes.
        licence: of the weights it starts from; empty = as the weights say.
        name: of the model.
        parent_version: of the champion it starts from.
        reason: why it is trained, for the lineage.
    """

    backbone: str
    classes: tuple[str, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    image_size: int = 0
    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    interpolation: str = ""
    start: str = "scratch"
    strategy: str = "staged"
    seed: int = 0
    batch_images: int = 32
    most_epochs_per_stage: int = 20
    patience_epochs: int = 4
    learning_rate: float = 0.002
    weight_decay: float = 0.01
    augmentation: str = "light"
    flip: bool = False
    budget_minutes: float = 30.0
    device: str = "auto"
    threads: int = 0
    licence: str = ""
    name: str = "model"
    parent_version: int | None = None
    reason: str = "first model"

    def to_json(self) -> dict[str, Any]:
        value = dataclasses.asdict(self)
        return {key: list(item) if isinstance(item, tuple) else item for key, item in value.items()}


def write_plan(plan: TrainingPlan, run_dir: Path) -> None:
    """Check the plan and write it as plan.json."""
    check_plan(plan)
    write_atomically(run_dir / "plan.json", json.dumps(plan.to_json(), indent=2) + "\n")


def read_plan(run_dir: Path) -> TrainingPlan:
    """
    The plan of a run directory.

    Raises:
        UserError: missing, unreadable, or not a plan, with all its mistakes.
    """
    path = run_dir / "plan.json"
    try:
        value = json.loads(path.read_text())
    except FileNotFoundError as problem:
        raise UserError(f"{run_dir} is no run directory: it has no plan.json") from problem
    except ValueError as problem:
        raise UserError(f"{path} is not JSON: {problem}") from problem
    known = {entry.name: entry for entry in dataclasses.fields(TrainingPlan)}
    mistakes = [f"{key!r} is not part of a plan{_nearest(key, list(known))}" for key in value if key not in known]
    mistakes += [f"{key!r} is missing" for key in ("backbone", "classes") if key not in value]
    if mistakes:
        raise UserError(f"{path} cannot be used:\n  " + "\n  ".join(mistakes))
    plan = plan_from_json(value)
    try:
        check_plan(plan)
    except TypeError as problem:
        raise UserError(f"{path} holds a value of the wrong kind: {problem}") from problem
    return plan


def plan_from_json(value: Mapping[str, Any]) -> TrainingPlan:
    """What `to_json` gave, as a plan again."""
    fields: dict[str, Any] = {key: tuple(item) if isinstance(item, list) else item for key, item in value.items()}
    return TrainingPlan(**fields)


def check_plan(plan: TrainingPlan) -> None:
    """
    Nothing, where the plan can be used.

    Raises:
        UserError: every mistake of the plan, with the nearest known word where one is unknown.
    """
    mistakes = [
        f"{name} {value!r} is not known; one of {', '.join(choices)}{_nearest(value, choices)}"
        for name, value, choices in (
            ("strategy", plan.strategy, STRATEGIES),
            ("augmentation", plan.augmentation, AUGMENTATIONS),
            ("device", plan.device, DEVICES),
            ("interpolation", plan.interpolation or "bilinear", ("bilinear", "bicubic")),
        )
        if value not in choices
    ]
    starts = ("scratch", "timm", "champion")
    if plan.start not in starts and not plan.start.startswith(PRETRAINED):
        mistakes.append(
            f"start {plan.start!r} is not known; one of {', '.join(starts)} or {PRETRAINED}<path>"
            f"{_nearest(plan.start, starts)}"
        )
    if len(set(plan.classes)) < 2 or list(plan.classes) != sorted(set(plan.classes)):  # noqa: PLR2004 - one class is none
        mistakes.append(f"classes must be at least two different names, sorted; found {list(plan.classes)}")
    mistakes += [
        f"{name} must be more than 0; found {value}"
        for name, value in (
            ("learning_rate", plan.learning_rate),
            ("budget_minutes", plan.budget_minutes),
            ("most_epochs_per_stage", plan.most_epochs_per_stage),
            ("patience_epochs", plan.patience_epochs),
            ("batch_images - 1", plan.batch_images - 1),
        )
        if not value > 0
    ]
    mistakes += [
        f"{name} must be three numbers or empty; found {list(values)}"
        for name, values in (("mean", plan.mean), ("std", plan.std))
        if len(values) not in (0, 3)
    ]
    if mistakes:
        raise UserError("the training plan cannot be used:\n  " + "\n  ".join(mistakes))


def _nearest(name: str, known: Sequence[str]) -> str:
    found = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {found[0]!r}?" if found else ""
