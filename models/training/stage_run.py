"""One stage from its beginning, or from where it was interrupted, to the best weights so far."""

import math
import time
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from infra.errors import UserError
from models import backbone
from models.training import checkpoint
from models.training.account import say, tell_epoch
from models.training.epochs import Diverged, EpochOutcome, run_epoch, score_now, seed_of
from models.training.freezing import set_trainable, trainable_names
from models.training.frozen.pooled_features import head_features
from models.training.frozen.sources import source_for
from models.training.head_fit import fit_head
from models.training.job import Job
from models.training.precision import autocast, compiled
from models.training.selection import SelectScore
from models.training.stages import Stage
from models.training.standing import (
    Best,
    Standing,
    after_diverging,
    after_epoch,
    ended,
    next_stage,
    share_s,
    spent,
)
from models.training.statistics import renew_statistics
from models.training.whole_network import Source, WholeNetwork

_SAVE_EVERY_S = 1.0
_IMAGES_FOR_STATISTICS = 4_000
_AT_ONCE = 128


@dataclass(frozen=True)
class _Supply:
    """Where a stage's batches come from, and what the source calls with them."""

    source: Source
    forward: nn.Module

    @property
    def name(self) -> str:
        return "whole network" if isinstance(self.source, WholeNetwork) else "cached prefix"


def run_stage(job: Job, stage: Stage, standing: Standing) -> Standing:
    """
    Train one stage to its end; the best weights of all so far are in place when it returns.

    Raises:
        UserError: nothing can train, training diverged twice, or a GPU's memory is too small for two images.
    """
    share = job.bench.ranks.told(lambda: share_s(standing, job.stages, job.plan.budget_minutes))
    if share <= 0:
        return _closed(job, stage, standing, "budget", "none")
    began = time.monotonic()
    _open(job, stage, standing)
    if not stage.groups:
        return _statistics_renewed(job, stage, standing, began)
    if stage.head_only and standing.epoch == 0 and (fitted := _head_fitted(job, stage, standing, began)):
        return fitted
    supply = _supply(job, stage)
    standing = spent(standing, job.bench.ranks.told(lambda: time.monotonic() - began))
    why = ended(standing, job.plan, share)
    while not why:
        standing = _one_epoch(job, stage, supply, standing, share)
        why = ended(standing, job.plan, share)
        if not why:
            _save_now_and_then(job, standing)
    return _closed(job, stage, standing, why, supply.name)


def beginning(job: Job) -> Standing:
    """Before the first stage: the best so far are the weights it starts from."""
    return Standing(Best(score_now(job.bench, job.network), copied(job.bench.model)))


def copied(model: nn.Module) -> dict[str, Tensor]:
    """Weights and statistics, in memory of their own on the CPU."""
    return {name: tensor.detach().cpu().clone() for name, tensor in model.state_dict().items()}


def save(job: Job, standing: Standing) -> None:
    """Write the checkpoint; the first process does it for all."""
    if job.bench.ranks.first:
        bench = job.bench
        checkpoint.save(job.checkpoint, standing, job.plan, job.data, bench.model, bench.optimizer, bench.mean)


def _open(job: Job, stage: Stage, standing: Standing) -> None:
    bench = job.bench
    set_trainable(bench.model, trainable_names(bench.model, bench.groups, stage))
    if standing.epoch > 0:
        return
    if stage.fresh:
        torch.manual_seed(seed_of(job.plan.seed, stage.index, -1))
        size = job.start.preprocessing.image_size
        drawn = backbone.build(job.plan.backbone, job.plan.options, len(job.plan.classes), image_size=size)
        bench.model.load_state_dict(drawn.state_dict())
        bench.optimizer.state.clear()
    if bench.mean:
        bench.mean.begin_again(bench.model)


def _supply(job: Job, stage: Stage) -> _Supply:
    bench = job.bench
    if bench.ranks.several:
        wrapped = bench.ranks.wrapped(bench.model)
        return _Supply(replace(job.network, forward=wrapped), wrapped)
    source = source_for(job.network, stage, job.run_dir, seed_of(job.plan.seed, stage.index, -1))
    if not isinstance(source, WholeNetwork):
        return _Supply(source, bench.model)
    called, words = compiled(bench.model, job.plan, bench.device, lambda module: _trial(job, module))
    if words:
        say(job, words)
    return _Supply(replace(source, forward=called), called)


def _trial(job: Job, module: nn.Module) -> None:
    """One forward and backward pass that leaves weights, statistics and gradients as they were."""
    bench, kept = job.bench, copied(job.bench.model)
    numbers = torch.arange(min(bench.batch_images, len(bench.labels)))
    with autocast(job.plan, bench.device):
        answer = replace(job.network, forward=module).train_forward(numbers, torch.Generator().manual_seed(0))
    answer.logits.float().square().mean().backward()  # type: ignore[no-untyped-call]
    bench.model.zero_grad(set_to_none=True)
    bench.model.load_state_dict(kept)


def _one_epoch(job: Job, stage: Stage, supply: _Supply, standing: Standing, share: float) -> Standing:
    began = time.monotonic()
    try:
        outcome = run_epoch(job.bench, stage, supply.source, supply.forward, standing)
    except Diverged:
        return _gentler(job, stage, standing)
    except torch.OutOfMemoryError:
        return _smaller(job, standing)
    took = job.bench.ranks.told(lambda: time.monotonic() - began)
    after = after_epoch(standing, job.plan, outcome.select, outcome.updates, took, share)
    if outcome.select.better_than(standing.best.score, job.plan.metric):
        after = replace(after, best=Best(outcome.select, _kept(job, outcome)))
    tell_epoch(job, stage, after, outcome, supply.name)
    return after


def _kept(job: Job, outcome: EpochOutcome) -> dict[str, Tensor]:
    mean = job.bench.mean
    if not outcome.averaged or mean is None:
        return copied(job.bench.model)
    return {name: tensor.detach().cpu().clone() for name, tensor in mean.weights.items()}


def _gentler(job: Job, stage: Stage, standing: Standing) -> Standing:
    """
    The stage once more from the best weights, more slowly; but only once in a job.

    Raises:
        UserError: it happened before.
    """
    rate = job.bench.rate
    if standing.diverged:
        raise UserError(
            f"the loss is no longer a number in stage {stage.name!r}, for the second time and at a fifth of the "
            f"rate: lower train.learning_rate (now {rate:g}), for instance to {rate / 10:g}"
        )
    job.bench.model.load_state_dict(standing.best.weights)
    job.bench.optimizer.state.clear()
    after = after_diverging(standing)
    if job.bench.mean:
        job.bench.mean.begin_again(job.bench.model)
    say(job, f"The loss was no longer a number in stage {stage.name!r}; it begins again at a fifth of the rate.")
    save(job, after)
    return after


def _smaller(job: Job, standing: Standing) -> Standing:
    """
    The same epoch with half as many images at once.

    Raises:
        UserError: two images are too many, or several processes would have to agree.
    """
    now = standing.micro_batch or job.plan.micro_batch_images or job.bench.batch_images
    if now <= 2 or job.bench.ranks.several:  # noqa: PLR2004 - a lone image has no statistics
        raise UserError(
            f"the GPU's memory is too small for {now} images at once; lower train.micro_batch_images, "
            "model.image_size, or take a smaller model.backbone"
        )
    job.bench.optimizer.zero_grad(set_to_none=True)
    torch.cuda.empty_cache()
    say(job, f"The GPU's memory is too small for {now} images at once; going on with {now // 2}.")
    return replace(standing, micro_batch=now // 2)


def _head_fitted(job: Job, stage: Stage, standing: Standing, began: float) -> Standing | None:
    """The head in closed form on features of the frozen base; None where it is more than a matrix on them."""
    bench = job.bench
    with autocast(job.plan, bench.device):
        seed = seed_of(job.plan.seed, stage.index, -1)
        features = head_features(job.network, job.run_dir, seed) if bench.ranks.first else None
    if not bench.ranks.told(lambda: features is not None):
        return None
    if features is not None:
        views, count = features.views, len(features.views)
        classifier = features.classifier
        fitted = fit_head(
            views.flatten(0, 1),
            bench.labels.repeat(count),
            bench.weights.repeat(count),
            features.select,
            bench.select_labels,
            len(job.plan.classes),
            _metric_of_heads(job.plan.metric),
            present=(classifier.weight, classifier.bias) if job.plan.start == "champion" else None,
        )
        with torch.no_grad():
            classifier.weight.copy_(fitted.weight)
            classifier.bias.copy_(fitted.bias)
    bench.ranks.same_everywhere(bench.model)
    return _measured(job, stage, standing, began, "fitted", "cached features")


def _metric_of_heads(metric: str) -> str:
    """By recall alone a head wins that calls everything by the rarest names: 25 % right on tiles with few defects."""
    return "macro_f1" if metric == "macro_recall" else metric


def _statistics_renewed(job: Job, stage: Stage, standing: Standing, began: float) -> Standing:
    """From old and new images alike, evenly chosen where there are many."""
    images = len(job.network.train)
    step = math.ceil(images / _IMAGES_FOR_STATISTICS)
    slices = [slice(start, start + _AT_ONCE * step, step) for start in range(0, images, _AT_ONCE * step)]
    with autocast(job.plan, job.bench.device):
        renew_statistics(job.bench.model, (job.network.plain(job.network.train, numbers) for numbers in slices))
    job.bench.ranks.same_everywhere(job.bench.model)
    return _measured(job, stage, standing, began, "renewed", "whole network")


def _measured(job: Job, stage: Stage, standing: Standing, began: float, why: str, source: str) -> Standing:
    """After a stage of a single step: kept where it is better."""
    score: SelectScore = score_now(job.bench, job.network)
    took = job.bench.ranks.told(lambda: time.monotonic() - began)
    after = replace(spent(standing, took), epoch=1, epochs=1, stage_metric=score.value(job.plan.metric))
    if score.better_than(standing.best.score, job.plan.metric):
        after = replace(after, best=Best(score, copied(job.bench.model)))
    outcome = EpochOutcome(score.loss, 0, 0.0, score, averaged=False, images_per_s=len(job.network.train) / took)
    tell_epoch(job, stage, after, outcome, source)
    return _closed(job, stage, after, why, source)


def _closed(job: Job, stage: Stage, standing: Standing, why: str, source: str) -> Standing:
    after = next_stage(standing, stage, why, source)
    job.bench.model.load_state_dict(standing.best.weights)
    save(job, after)
    return after


def _save_now_and_then(job: Job, standing: Standing) -> None:
    """Small networks run several epochs a second; one checkpoint a second is enough, any of them resumes exactly."""
    if not job.checkpoint.is_file() or time.time() - job.checkpoint.stat().st_mtime >= _SAVE_EVERY_S:
        save(job, standing)
