"""The network a job starts from, and what is known of its weights."""

import json
import os
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import nn

from models.backbone import WeightsOutOfReach, build, licence_of, network_input
from models.preprocessing import Preprocessing
from models.training.hub import FETCHED
from models.training.plan import PRETRAINED, TrainingPlan
from models.weights import calm_head, load_champion, load_pretrained, read_weights


@dataclass(frozen=True)
class Start:
    """
    A network ready to be trained.

    Attributes:
        preprocessing: what it wants of its images.
        licence: of its weights; "none" where it was drawn at random.
        scratch: it was drawn at random, by plan or for want of weights.
        remark: what a person should be told about it; empty where all is as planned.
    """

    model: nn.Module
    preprocessing: Preprocessing
    licence: str
    scratch: bool = False
    remark: str = ""


def starting_network(plan: TrainingPlan, run_dir: Path) -> Start:
    """
    Build the network and fill it as the plan says; what the plan leaves open is the network's own.

    Where pretrained weights may be done without and cannot be fetched, it is drawn at random. That is decided once
    in a run directory, in start.json: a job that is resumed, and the other processes of a job, follow.

    Raises:
        UserError: unknown network, options it does not take, weights missing, damaged, of another shape, or
            out of reach.
    """
    if plan.strategy == "scratch" or plan.start == "scratch":
        return _drawn(plan, "")
    if plan.start in FETCHED:
        return _fetched(plan, run_dir / "start.json")
    model = _built(plan, pretrained=False)
    if plan.start == "champion":
        weights = read_weights(run_dir / "start.safetensors")
        load_champion(model, weights, plan.classes)
    else:
        weights = read_weights(run_dir / plan.start.removeprefix(PRETRAINED))
        calm_head(model)
        load_pretrained(model, weights)
    licence = plan.licence or weights.texts.get("license", "unknown")
    return Start(model, _preprocessing(plan, network_input(model, weights)), licence)


def _fetched(plan: TrainingPlan, note: Path) -> Start:
    remark = _remembered(note)
    if remark:
        return _drawn(plan, remark)
    try:
        model = _built(plan, pretrained=True)
    except WeightsOutOfReach as problem:
        if plan.start == "timm" or remark is not None:
            raise
        remark = _settled(note, _instead(plan.backbone, problem.reason))
        if not remark:  # another process of this job has them
            raise
        return _drawn(plan, remark)
    remark = _settled(note, "")
    if remark:
        return _drawn(plan, remark)
    calm_head(model)
    return Start(model, _preprocessing(plan, network_input(model)), plan.licence or licence_of(model))


def _drawn(plan: TrainingPlan, remark: str) -> Start:
    model = _built(plan, pretrained=False)
    return Start(model, _preprocessing(plan, network_input(model)), "none", scratch=True, remark=remark)


def _built(plan: TrainingPlan, *, pretrained: bool) -> nn.Module:
    torch.manual_seed(plan.seed)  # the same draw, whatever was tried before
    return build(
        plan.backbone,
        plan.options,
        len(plan.classes),
        pretrained=pretrained,
        image_size=plan.image_size,
        dropout=plan.dropout,
        drop_path=plan.drop_path,
    )


def _instead(name: str, reason: str) -> str:
    return (
        f"The pretrained weights of {name} cannot be fetched ({reason}), so it is trained from scratch: expect to need "
        "many more images. Set model.weights to a .safetensors file of this network, or train where the weights can "
        "be downloaded."
    )


def _remembered(note: Path) -> str | None:
    """The remark of the run directory's first start; None where there was none yet."""
    return str(json.loads(note.read_text())["remark"]) if note.is_file() else None


def _settled(note: Path, remark: str) -> str:
    """Write down what was found, unless another process was first; what stands there then."""
    draft = note.with_name(f"{note.name}.{os.getpid()}.draft")
    draft.write_text(json.dumps({"scratch": bool(remark), "remark": remark}, indent=2) + "\n")
    try:
        note.hardlink_to(draft)  # whole or not at all, and never over another's
    except FileExistsError:
        pass
    except OSError:  # a file system without links
        draft.replace(note)
    draft.unlink(missing_ok=True)
    return _remembered(note) or ""


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
