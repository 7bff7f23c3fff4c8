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

STRATEGIES = ("auto", "head", "staged", "full", "layerwise", "surgical", "scratch")
SHIFTS = ("", "input", "output")
SCHEDULES = ("cosine", "plateau", "wsd")
METRICS = ("macro_recall", "accuracy", "macro_f1", "least_recall", "loss")
AUGMENTATIONS = ("none", "light", "medium", "strong")
IMBALANCES = ("none", "weights", "sampling")
PRECISIONS = ("auto", "fp32", "bf16")
COMPILES = ("auto", "on", "off")
DEVICES = ("auto", "cpu", "cuda")
STARTS = ("scratch", "timm", "timm-if-reachable", "champion")
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
        start: "scratch", "timm" (its pretrained weights), "timm-if-reachable" (else from scratch), "champion"
            (start.safetensors in the run directory) or "pretrained:<path of a weights file>".
        strategy: head, staged (head first, then downwards), full (all at one rate), layerwise (all, slower towards
            the stem), surgical (first blocks and normalisation), scratch; or auto, which climbs from the cheapest.
        shift: what changed, where known: input (cameras, light) or output (what belongs to which class).
        schedule: of the learning rate within a stage: cosine, plateau, or wsd (warm-up, stable, decay).
        metric: on *select*; decides when to stop and what to keep.
        least_epochs_per_stage: no stage ends for want of progress before.
        most_epochs_per_stage: a stage ends here at the latest.
        patience_epochs: a stage ends after so many epochs without a better metric.
        batch_images: in one update of the weights; 0 = chosen by the number of images.
        micro_batch_images: in one forward pass, their gradients added up; 0 = the whole batch.
        learning_rate: of the head; lower groups get less. 0 = by the kind of network.
        precision: auto (bf16 where a GPU can), fp32 or bf16; a CPU computes in fp32.
        compile: torch.compile: auto (on a GPU, where it proves faster), on or off.
        dropout: before the head, 0..1; 0 = the network's own.
        drop_path: share of residual branches left out, 0..1; 0 = the network's own.
        ema_decay: of the running mean of the weights, 0..1; 0 = none.
        clip_norm: most length of the gradient; 0 = any.
        l2_sp: pull towards the weights it starts from; 0 = none (Li et al. 2018).
        interpolate: between start and result, by as much as is best on old and new *select* images
            (WiSE-FT, Wortsman et al. 2022).
        imbalance: of the classes: none (as they come), weights (of the loss) or sampling (of the images).
        new_share: of production images in every epoch, 0..1; 0 = as they come.
        mixup: Beta's parameter; 0 = none.
        cutmix: Beta's parameter; 0 = none.
        min_precision: floor of every class on *select*, for auto.
        min_recall: floor of every class on *select*, for auto.
        good_enough: auto climbs no further at this macro recall on *select*, once the floors hold; 0 = at the floors.
        cache_mb: most memory for what the frozen layers give, megabytes.
        features_dir: where that outlives the job; empty = in the run directory.
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
    shift: str = ""
    schedule: str = "cosine"
    metric: str = "macro_recall"
    seed: int = 0
    batch_images: int = 32
    micro_batch_images: int = 0
    least_epochs_per_stage: int = 1
    most_epochs_per_stage: int = 20
    patience_epochs: int = 4
    learning_rate: float = 0.0
    precision: str = "auto"
    compile: str = "auto"
    weight_decay: float = 0.01
    dropout: float = 0.0
    drop_path: float = 0.0
    label_smoothing: float = 0.0
    ema_decay: float = 0.0
    clip_norm: float = 1.0
    l2_sp: float = 0.0
    interpolate: bool = False
    imbalance: str = "none"
    new_share: float = 0.0
    augmentation: str = "light"
    flip: bool = False
    mixup: float = 0.0
    cutmix: float = 0.0
    min_precision: float = 0.5
    min_recall: float = 0.5
    good_enough: float = 0.98
    cache_mb: float = 1000.0
    features_dir: str = ""
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
    mistakes = _unknown_words(plan)
    if len(set(plan.classes)) < 2 or list(plan.classes) != sorted(set(plan.classes)):  # noqa: PLR2004 - one class is none
        mistakes.append(f"classes must be at least two different names, sorted; found {list(plan.classes)}")
    mistakes += _out_of_range(plan)
    mistakes += [
        f"{name} must be three numbers or empty; found {list(values)}"
        for name, values in (("mean", plan.mean), ("std", plan.std))
        if len(values) not in (0, 3)
    ]
    if mistakes:
        raise UserError("the training plan cannot be used:\n  " + "\n  ".join(mistakes))


def _unknown_words(plan: TrainingPlan) -> list[str]:
    mistakes = [
        f"{name} {value!r} is not known; one of {', '.join(choice or 'empty' for choice in choices)}"
        f"{_nearest(value, choices)}"
        for name, value, choices in (
            ("strategy", plan.strategy, STRATEGIES),
            ("shift", plan.shift, SHIFTS),
            ("schedule", plan.schedule, SCHEDULES),
            ("metric", plan.metric, METRICS),
            ("imbalance", plan.imbalance, IMBALANCES),
            ("augmentation", plan.augmentation, AUGMENTATIONS),
            ("precision", plan.precision, PRECISIONS),
            ("compile", plan.compile, COMPILES),
            ("device", plan.device, DEVICES),
            ("interpolation", plan.interpolation or "bilinear", ("bilinear", "bicubic")),
        )
        if value not in choices
    ]
    if plan.start not in STARTS and not plan.start.startswith(PRETRAINED):
        mistakes.append(
            f"start {plan.start!r} is not known; one of {', '.join(STARTS)} or {PRETRAINED}<path>"
            f"{_nearest(plan.start, STARTS)}"
        )
    return mistakes


def _out_of_range(plan: TrainingPlan) -> list[str]:
    above_0 = (
        "budget_minutes",
        "least_epochs_per_stage",
        "most_epochs_per_stage",
        "patience_epochs",
        "cache_mb",
    )
    shares = ("dropout", "drop_path", "label_smoothing", "ema_decay", "new_share", "min_precision", "min_recall")
    at_least_0 = (
        "learning_rate",
        "weight_decay",
        "clip_norm",
        "l2_sp",
        "mixup",
        "cutmix",
        "good_enough",
        "micro_batch_images",
    )
    values = vars(plan)
    mistakes = [f"{name} must be more than 0; found {values[name]}" for name in above_0 if not values[name] > 0]
    mistakes += [
        f"{name} must be at least 0 and below 1; found {values[name]}" for name in shares if not 0 <= values[name] < 1
    ]
    mistakes += [f"{name} must be at least 0; found {values[name]}" for name in at_least_0 if not values[name] >= 0]
    if plan.batch_images < 0 or plan.batch_images == 1:
        mistakes.append(f"batch_images must be 2 or more, or 0 for automatic; found {plan.batch_images}")
    if plan.least_epochs_per_stage > plan.most_epochs_per_stage:
        mistakes.append(
            f"least_epochs_per_stage {plan.least_epochs_per_stage} is more than "
            f"most_epochs_per_stage {plan.most_epochs_per_stage}"
        )
    return mistakes


def _nearest(name: str, known: Sequence[str]) -> str:
    found = difflib.get_close_matches(name, list(known), n=1)
    return f"; did you mean {found[0]!r}?" if found else ""
