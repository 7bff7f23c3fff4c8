"""The training job, from plan to candidate: stage by stage, resumable between any two epochs."""

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import safetensors.torch
import timm
import torch

from infra.clock import now
from infra.files import write_atomically
from models.training import checkpoint, job
from models.training.account import say
from models.training.interpolation import between_start_and_result
from models.training.job import Job
from models.training.report import TrainingReport, write_report
from models.training.selection import floors_hold, good_enough
from models.training.stage_run import beginning, copied, run_stage, save
from models.training.standing import Standing
from models.training.tensorboard import open_board


def train(run_dir: Path) -> TrainingReport:
    """
    Do what the run directory's plan says, from where its checkpoint stands, and leave `candidate/` behind.

    Raises:
        UserError: the plan, the images, the weights or the checkpoint cannot be used, or training diverged.
    """
    with job.opened(run_dir) as prepared:
        began_from = copied(prepared.bench.model) if prepared.plan.interpolate else {}
        standing = _where_it_stood(prepared) or beginning(prepared)
        work = replace(prepared, draw=open_board(run_dir, standing.step)) if prepared.bench.ranks.first else prepared
        while standing.stage < len(work.stages):
            stage = work.stages[standing.stage]
            standing = run_stage(work, stage, standing)
            if stage.rung and _high_enough(work, standing):
                standing = _climbed_enough(work, standing)
        standing, share = between_start_and_result(work, standing, began_from)
        return _write_candidate(work, standing, share)


def _where_it_stood(work: Job) -> Standing | None:
    bench = work.bench
    return checkpoint.load(work.checkpoint, work.plan, work.data, bench.model, bench.optimizer, bench.mean)


def _high_enough(work: Job, standing: Standing) -> bool:
    """Good enough; or bearable, with nothing left to try but to begin from scratch."""
    score, left = standing.best.score, work.stages[standing.stage :]
    return good_enough(score, work.plan) or (floors_hold(score, work.plan) and all(stage.fresh for stage in left))


def _climbed_enough(work: Job, standing: Standing) -> Standing:
    """`auto` stops at the first rung that reaches what is asked for."""
    left = [stage.name for stage in work.stages[standing.stage :]]
    if left:
        recall = standing.best.score.macro_recall
        say(work, f"Macro recall {recall:.3f} on select is enough; not needed: {', '.join(left)}.")
    after = replace(standing, stage=len(work.stages))
    save(work, after)
    return after


def _write_candidate(work: Job, standing: Standing, share: float) -> TrainingReport:
    plan, preprocessing = work.plan, work.start.preprocessing
    score = standing.best.score
    report = TrainingReport(
        plan=plan,
        preprocessing=preprocessing,
        licence=work.start.licence,
        remark=work.start.remark,
        data_fingerprint=work.data,
        images={
            "role": dict(Counter(row.role for row in work.examples)),
            "source": dict(Counter(row.source for row in work.examples)),
            "class": dict(sorted(Counter(row.label for row in work.examples if row.role == "train").items())),
        },
        stages=standing.outcomes,
        interpolation=share,
        select_macro_recall=score.macro_recall,
        select_accuracy=score.accuracy,
        parameters=sum(parameter.numel() for parameter in work.bench.model.parameters()),
        seconds=round(standing.seconds, 3),
        trained_at=now().isoformat(),
        libraries={"torch": torch.__version__, "timm": timm.__version__},
    )
    if work.bench.ranks.first:
        _write(work, standing, report)
    return report


def _write(work: Job, standing: Standing, report: TrainingReport) -> None:
    candidate, preprocessing = work.run_dir / "candidate", report.preprocessing
    texts = {
        "format": "pt",
        "arch": report.plan.backbone,
        "classes": json.dumps(report.plan.classes),
        "mean": ",".join(map(str, preprocessing.mean)),
        "std": ",".join(map(str, preprocessing.std)),
        "license": report.licence,
    }
    weights = {name: tensor.contiguous() for name, tensor in standing.best.weights.items()}
    write_atomically(candidate / "model.safetensors", safetensors.torch.save(weights, metadata=texts))
    write_report(report, candidate)
