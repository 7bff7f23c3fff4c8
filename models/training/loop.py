"""The training job, from plan to candidate: stage by stage, epoch by epoch, resumable between any two."""

import json
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import safetensors.torch
import timm
import torch
from torch import Tensor, nn

from infra.clock import now
from infra.errors import UserError
from infra.files import write_atomically
from models.backbone import layer_groups
from models.images import Preprocessing
from models.training import checkpoint
from models.training.cache import decoded_pixels
from models.training.checkpoint import Best, StageOutcome, Standing
from models.training.epochs import EpochOutcome, Workbench, run_epoch, seed_of
from models.training.freezing import build_optimizer, set_trainable
from models.training.plan import TrainingPlan, read_plan
from models.training.progress import EpochProgress, tell
from models.training.report import TrainingReport, write_report
from models.training.run_folder import RunExample, read_examples
from models.training.selection import select_score
from models.training.sources import Source, WholeNetwork, cached_head, head_factor, of_role
from models.training.stages import Stage, plan_stages
from models.training.start import starting_network

_SAVE_EVERY_S = 1.0
_CLEARLY = 0.98


@dataclass(frozen=True)
class _Job:
    run_dir: Path
    plan: TrainingPlan
    stages: tuple[Stage, ...]
    bench: Workbench
    network: WholeNetwork
    data: str  # fingerprint of the images


def train(run_dir: Path) -> TrainingReport:
    """
    Do what the run directory's plan says, from where its checkpoint stands, and leave `candidate/` behind.

    Raises:
        UserError: the plan, the images, the weights or the checkpoint cannot be used, or training diverged.
    """
    plan = read_plan(run_dir)
    examples = tuple(row for row in read_examples(run_dir, plan) if row.role != "judge")
    device = _device(plan)
    if plan.threads:
        torch.set_num_threads(plan.threads)
    torch.manual_seed(plan.seed)  # a new head starts from these
    start = starting_network(plan, run_dir)
    pixels, data = decoded_pixels(run_dir, examples, start.preprocessing)
    # Convolutions are a sixth faster with the channels innermost; other layers do not mind.
    model = start.model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    groups = layer_groups(model)
    train_images, select_images = (
        of_role(pixels, examples, role, plan.classes, device) for role in ("train", "select")
    )
    optimizer = build_optimizer(model, groups, plan.weight_decay)
    network = WholeNetwork(model, train_images, select_images, plan, start.preprocessing)
    job = _Job(
        run_dir=run_dir,
        plan=plan,
        stages=plan_stages(len(groups), plan.strategy, plan.start),
        bench=Workbench(plan, model, groups, optimizer, train_images, select_images, _head_factor(network)),
        network=network,
        data=data,
    )
    standing = checkpoint.load(run_dir / "checkpoint.pt", plan, data, model, optimizer) or _beginning(job)
    while standing.stage < len(job.stages):
        standing = _run_stage(job, job.stages[standing.stage], standing)
    return _write_candidate(job, standing, examples, start.preprocessing, start.licence)


def _beginning(job: _Job) -> Standing:
    score = select_score(job.network.select_logits(), job.bench.select.labels)
    return Standing(Best(score.macro_recall, score.accuracy, score.loss, _copied(job.bench.model)))


def _head_factor(network: WholeNetwork) -> float:
    """What the head's learning rate is multiplied by; its features are worth measuring once they mean something."""
    plan = network.plan
    if plan.strategy == "scratch" or plan.start == "scratch":
        return 1.0
    return head_factor(network, plan.learning_rate)


def _run_stage(job: _Job, stage: Stage, standing: Standing) -> Standing:
    """Train one stage to its end; the best weights of all so far are in place when it returns."""
    began = time.monotonic()
    share_s = _share_s(job, standing)
    if share_s > 0:
        set_trainable(job.bench.model, job.bench.groups, stage)
        source: Source = job.network
        if stage.head_only:
            source = cached_head(job.network, seed_of(job.plan.seed, stage.index, -1))
    standing, began = _spent(standing, time.monotonic() - began), time.monotonic()
    ended = _ended(job, standing, share_s)
    while not ended:
        epochs = standing.epochs or job.plan.most_epochs_per_stage
        outcome = run_epoch(job.bench, stage, source, standing.epoch, epochs)
        took, began = time.monotonic() - began, time.monotonic()
        standing = _after_epoch(job, standing, outcome, took, share_s)
        _tell(job, stage, standing, outcome)
        ended = _ended(job, standing, share_s)
        if not ended:
            _save_now_and_then(job, standing)
    return _next_stage(job, stage, standing, ended)


def _share_s(job: _Job, standing: Standing) -> float:
    """Seconds for this stage, of what was left when it began: the deeper a stage trains, the more it is given."""
    left = job.plan.budget_minutes * 60 - (standing.seconds - standing.stage_seconds)
    parts = [2.0**stage.index for stage in job.stages[standing.stage :]]
    return left * parts[0] / sum(parts)


def _after_epoch(job: _Job, standing: Standing, outcome: EpochOutcome, took: float, share_s: float) -> Standing:
    score, best = outcome.select, standing.best
    if (score.macro_recall, -score.loss) > (best.macro_recall, -best.loss):
        best = Best(score.macro_recall, score.accuracy, score.loss, _copied(job.bench.model))
    # Recall moves in steps of one image; a loss still falling clearly says that it is not over yet.
    better = score.macro_recall > standing.stage_recall or score.loss < _CLEARLY * standing.stage_loss
    # The first epoch shows how many the budget allows, so that the learning rate comes down within it.
    affordable = int((share_s - standing.stage_seconds) / took)
    epochs = standing.epochs or max(1, min(job.plan.most_epochs_per_stage, affordable))
    return replace(
        _spent(standing, took),
        best=best,
        epoch=standing.epoch + 1,
        epochs=epochs,
        step=standing.step + outcome.updates,
        stage_recall=max(score.macro_recall, standing.stage_recall),
        stage_loss=min(score.loss, standing.stage_loss),
        waited=0 if better else standing.waited + 1,
    )


def _spent(standing: Standing, seconds: float) -> Standing:
    return replace(standing, seconds=standing.seconds + seconds, stage_seconds=standing.stage_seconds + seconds)


def _ended(job: _Job, standing: Standing, share_s: float) -> str:
    """Why the stage is over; empty while it is not."""
    if standing.stage_seconds >= share_s or share_s <= 0:
        return "budget"
    if standing.epochs and standing.epoch >= standing.epochs:
        return "epochs" if standing.epochs == job.plan.most_epochs_per_stage else "budget"
    return "early" if standing.waited >= job.plan.patience_epochs else ""


def _next_stage(job: _Job, stage: Stage, standing: Standing, ended: str) -> Standing:
    best = standing.best
    outcome = StageOutcome(
        stage.name, standing.epoch, best.macro_recall, best.accuracy, round(standing.stage_seconds, 3), ended
    )
    job.bench.model.load_state_dict(best.weights)
    after = Standing(
        best=best,
        stage=standing.stage + 1,
        step=standing.step,
        seconds=standing.seconds,
        outcomes=(*standing.outcomes, outcome),
    )
    _save(job, after)
    return after


def _save_now_and_then(job: _Job, standing: Standing) -> None:
    """Small networks run several epochs a second; one checkpoint a second is enough, any of them resumes exactly."""
    path = job.run_dir / "checkpoint.pt"
    if not path.is_file() or time.time() - path.stat().st_mtime >= _SAVE_EVERY_S:
        _save(job, standing)


def _save(job: _Job, standing: Standing) -> None:
    path = job.run_dir / "checkpoint.pt"
    checkpoint.save(path, standing, job.plan, job.data, job.bench.model, job.bench.optimizer)


def _tell(job: _Job, stage: Stage, standing: Standing, outcome: EpochOutcome) -> None:
    tell(
        job.run_dir / "progress.jsonl",
        EpochProgress(
            stage=stage.index,
            stages=len(job.stages),
            stage_name=stage.name,
            epoch=standing.epoch,
            epochs=standing.epochs,
            step=standing.step,
            loss=outcome.loss,
            select_macro_recall=outcome.select.macro_recall,
            select_accuracy=outcome.select.accuracy,
            learning_rate=outcome.learning_rate,
            seconds=round(standing.seconds, 3),
        ),
    )


def _write_candidate(
    job: _Job,
    standing: Standing,
    examples: Sequence[RunExample],
    preprocessing: Preprocessing,
    licence: str,
) -> TrainingReport:
    candidate, plan = job.run_dir / "candidate", job.plan
    report = TrainingReport(
        plan=plan,
        preprocessing=preprocessing,
        licence=licence,
        data_fingerprint=job.data,
        images={
            "role": dict(Counter(row.role for row in examples)),
            "source": dict(Counter(row.source for row in examples)),
            "class": dict(sorted(Counter(row.label for row in examples if row.role == "train").items())),
        },
        stages=standing.outcomes,
        select_macro_recall=standing.best.macro_recall,
        select_accuracy=standing.best.accuracy,
        parameters=sum(parameter.numel() for parameter in job.bench.model.parameters()),
        seconds=round(standing.seconds, 3),
        trained_at=now().isoformat(),
        libraries={"torch": torch.__version__, "timm": timm.__version__},
    )
    texts = {
        "format": "pt",
        "arch": plan.backbone,
        "classes": json.dumps(plan.classes),
        "mean": ",".join(map(str, preprocessing.mean)),
        "std": ",".join(map(str, preprocessing.std)),
        "license": licence,
    }
    weights = {name: tensor.contiguous() for name, tensor in standing.best.weights.items()}
    write_atomically(candidate / "model.safetensors", safetensors.torch.save(weights, metadata=texts))
    write_report(report, candidate)
    return report


def _copied(model: nn.Module) -> dict[str, Tensor]:
    return {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}


def _device(plan: TrainingPlan) -> torch.device:
    if plan.device == "cuda" and not torch.cuda.is_available():
        raise UserError('train.device is "cuda" and torch sees no CUDA device here; set it to "auto" or "cpu"')
    return torch.device("cuda" if plan.device != "cpu" and torch.cuda.is_available() else "cpu")
