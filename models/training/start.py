"""The network a job starts from, and what is known of its weights."""

from dataclasses import dataclass
from pathlib import Path

from torch import nn

from models import backbone
from models.images import Preprocessing
from models.training.plan import PRETRAINED, TrainingPlan


@dataclass(frozen=True)
class Start:
    """A network ready to be trained, the preprocessing it wants, and the licence of its weights."""

    model: nn.Module
    preprocessing: Preprocessing
    licence: str


def starting_network(plan: TrainingPlan, run_dir: Path) -> Start:
    """
    Build the network and fill it as the plan says; what the plan leaves open is the network's own.

    Raises:
        UserError: unknown network, options it does not take, weights missing, damaged, of another shape, or
            out of reach.
    """
    scratch = plan.strategy == "scratch" or plan.start == "scratch"
    model = backbone.build(
        plan.backbone,
        plan.options,
        len(plan.classes),
        pretrained=plan.start == "timm" and not scratch,
        image_size=plan.image_size,
    )
    weights, licence = None, "none"
    if not scratch:
        if plan.start != "champion":
            backbone.calm_head(model)
        licence = backbone.licence_of(model) if plan.start == "timm" else "unknown"
        if plan.start == "champion":
            weights = backbone.read_weights(run_dir / "start.safetensors")
            backbone.load_champion(model, weights, plan.classes)
        elif plan.start.startswith(PRETRAINED):
            weights = backbone.read_weights(run_dir / plan.start.removeprefix(PRETRAINED))
            backbone.load_pretrained(model, weights)
        if weights:
            licence = weights.texts.get("license", licence)
    return Start(model, _preprocessing(plan, backbone.network_input(model, weights)), plan.licence or licence)


def _preprocessing(plan: TrainingPlan, own: Preprocessing) -> Preprocessing:
    return Preprocessing(
        image_size=plan.image_size or own.image_size,
        mean=_three(plan.mean) if plan.mean else own.mean,
        std=_three(plan.std) if plan.std else own.std,
        interpolation=plan.interpolation or own.interpolation,
    )


def _three(values: tuple[float, ...]) -> tuple[float, float, float]:
    red, green, blue = values
    return red, green, blue
