"""From settings to a training plan: for a first model, and for a successor of the champion."""

from dataclasses import replace
from pathlib import Path

from infra.errors import UserError
from infra.settings import Settings
from models.artifact import Artifact
from models.training.plan import PRETRAINED, TrainingPlan


def first_plan(settings: Settings, classes: tuple[str, ...], reason: str) -> TrainingPlan:
    """
    Start from the weights that the settings name.

    Raises:
        UserError: `model.weights` names a file that is not there.
    """
    return replace(
        _common(settings, settings.model.backbone, classes),
        options=settings.model.options,
        image_size=settings.model.image_size,
        mean=settings.model.mean,
        std=settings.model.std,
        start=_start(settings),
        licence=settings.model.licence,
        reason=reason,
    )


def successor_plan(settings: Settings, champion: Artifact, version: int, reason: str) -> TrainingPlan:
    """Start from the champion's weights, with its network, classes and preprocessing: the two must be comparable."""
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
        reason=reason,
    )


def _common(settings: Settings, backbone: str, classes: tuple[str, ...]) -> TrainingPlan:
    train = settings.train
    return TrainingPlan(
        backbone=backbone,
        classes=classes,
        name=settings.project.name,
        strategy=train.strategy,
        seed=train.seed,
        batch_images=train.batch_images,
        most_epochs_per_stage=train.most_epochs_per_stage,
        patience_epochs=train.patience_epochs,
        learning_rate=train.learning_rate,
        augmentation=train.augmentation,
        flip=train.flip,
        budget_minutes=train.budget_minutes,
        device=train.device,
        threads=train.threads,
    )


def _start(settings: Settings) -> str:
    weights = settings.model.weights
    if weights == "none":
        return "scratch"
    if weights == "auto":
        return "timm"
    path = (settings.root / Path(weights).expanduser()).resolve()
    if not path.is_file():
        raise UserError(
            f"model.weights names {path}, which is not there. "
            'Expected a .safetensors file, "auto" (timm\'s pretrained weights) or "none" (from scratch).'
        )
    return PRETRAINED + str(path)
