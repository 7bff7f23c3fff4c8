"""From settings to a training plan: for a first model, and for a successor of the champion."""

from dataclasses import fields, replace
from pathlib import Path

from infra.errors import UserError
from infra.settings import Settings
from models.artifact import Artifact
from models.training.plan import PRETRAINED, TrainingPlan


def first_plan(settings: Settings, classes: tuple[str, ...], reason: str, image_size: int = 0) -> TrainingPlan:
    """
    Start from the weights that the settings name.

    image_size: pixels a side where the settings leave it open; 0 = the network's own.

    Raises:
        UserError: `model.weights` names a file that is not there.
    """
    return replace(
        _common(settings, settings.model.backbone, classes),
        options=settings.model.options,
        image_size=settings.model.image_size or image_size,
        mean=settings.model.mean,
        std=settings.model.std,
        start=_start(settings),
        licence=settings.model.licence,
        reason=reason,
    )


def successor_plan(settings: Settings, champion: Artifact, version: int, reason: str, shift: str = "") -> TrainingPlan:
    """
    Start from the champion's weights, with its network, classes and preprocessing: the two must be comparable.

    shift: what changed in the world, where the watcher knows: "input", else empty.
    """
    return replace(
        _common(settings, champion.backbone, champion.classes),
        options=champion.options,
        image_size=champion.preprocessing.image_size,
        mean=champion.preprocessing.mean,
        std=champion.preprocessing.std,
        interpolation=champion.preprocessing.interpolation,
        start="champion",
        licence=champion.licence,
        parent_version=version,
        shift=shift,
        reason=reason,
    )


def _common(settings: Settings, backbone: str, classes: tuple[str, ...]) -> TrainingPlan:
    train = settings.train
    # A setting of [train] that is also a field of the plan bears the same name; the others concern the flow.
    shared = {field.name for field in fields(train)} & {field.name for field in fields(TrainingPlan)}
    return TrainingPlan(
        backbone=backbone,
        classes=classes,
        name=settings.project.name,
        min_precision=settings.gate.min_precision,
        min_recall=settings.gate.min_recall,
        features_dir=str(settings.storage.home / "features"),
        **{name: getattr(train, name) for name in shared},
    )


def _start(settings: Settings) -> str:
    weights = settings.model.weights
    if weights == "none":
        return "scratch"
    if weights == "auto":
        return "timm-if-reachable"
    if weights == "timm":
        return "timm"
    path = (settings.root / Path(weights).expanduser()).resolve()
    if not path.is_file():
        raise UserError(
            f"model.weights names {path}, which is not there. "
            'Expected a .safetensors file, "auto" (timm\'s pretrained weights, where they can be fetched), '
            '"timm" (insist on them) or "none" (from scratch).'
        )
    return PRETRAINED + str(path)
