"""Where a stage's batches come from: images through the whole network, or what its frozen part gave for them once."""

import hashlib
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from torch import Tensor

from models.training import sampling
from models.training.freezing import set_mode
from models.training.frozen.cached_prefix import CachedPrefix, Parts, encoded, encoder_of, fitting, megabytes
from models.training.frozen.frontier import NoSplit, split
from models.training.frozen.pooled_features import head_parts, head_views
from models.training.frozen.source_choice import (
    Choice,
    Costs,
    expected_epochs,
    expected_speedup,
    pays,
    read_choice,
    seconds_each,
    write_choice,
)
from models.training.frozen.split_check import untouched
from models.training.plan import TrainingPlan
from models.training.precision import autocast, to_float
from models.training.stages import Stage
from models.training.whole_network import Source, WholeNetwork

_PROBE_IMAGES = 4
# Deeper layers learn more than a head can, and learn few views by heart.
_PREFIX_VIEWS = {"none": 1, "light": 4, "medium": 6, "strong": 8}
_VIEWS_WITH_FLIP = 2


def source_for(network: WholeNetwork, stage: Stage, run_dir: Path, seed: int) -> Source:
    """
    The cheapest source that is right for a stage; what trains in it requires gradients already, and nothing else does.

    The choice is written to sources.json before it is used: resumed, a job takes the same way, or its weights would
    differ from those of an undisturbed one.

    seed: of the augmented views.
    """
    trainable = [name for name, parameter in network.model.named_parameters() if parameter.requires_grad]
    stands_for = _stands_for(network, stage, trainable)
    known = read_choice(run_dir, stage.index, stands_for)
    if known and not known.cached:
        return network
    obstacle = _obstacle(network, stage, trainable)
    parts = NoSplit(obstacle) if obstacle else _parts(network, stage, trainable)
    if isinstance(parts, NoSplit):
        write_choice(run_dir, stage.index, Choice(stage.name, stands_for, cached=False, reason=parts.reason))
        return network
    choice = known or _choice(network, stage, parts, stands_for)
    if not known:
        write_choice(run_dir, stage.index, choice)
    if not choice.cached:
        return network
    views, select = encoded(network, parts.encoder, choice.views, run_dir, seed)
    return CachedPrefix(network.model, parts.suffix, views, select)


def _parts(network: WholeNetwork, stage: Stage, trainable: Sequence[str]) -> Parts | NoSplit:
    """The network in two parts: at its pooled features where these are enough, else wherever training begins."""
    set_mode(network.model, _batch_images(network))
    head = head_parts(network) if stage.head_only else None
    if head:
        return head
    cut = split(network.model, trainable, network.plain(network.train, slice(0, _PROBE_IMAGES)))
    if isinstance(cut, NoSplit):
        return cut
    weights = cut.prefix.state_dict(keep_vars=True)
    return Parts(encoder_of(network, cut.prefix, weights, cut.frontier, cut.prefix.code), cut.suffix)


def _choice(network: WholeNetwork, stage: Stage, parts: Parts, stands_for: str) -> Choice:
    plan, encoder = network.plan, parts.encoder
    wanted = head_views(network) if stage.head_only else _prefix_views(plan)
    views = fitting(network, encoder, wanted)
    made = Choice(
        stage=stage.name,
        stands_for=stands_for,
        cached=False,
        reason=f"what is frozen takes more than {plan.cache_mb:g} MB to store (train.cache_mb)",
        frontier=encoder.frontier,
        views=views or wanted,
        megabytes=round(megabytes(encoder, network, views or wanted), 3),
    )
    if not views:
        return made
    if stage.head_only:
        return replace(made, cached=True, reason="a head alone costs next to nothing, so there is nothing to measure")
    costs = _measured(network, parts)
    epochs = expected_epochs(costs, len(network.train), plan.most_epochs_per_stage, plan.budget_minutes * 60)
    speedup, cached = expected_speedup(costs, views, epochs), pays(costs, views, epochs)
    judgement = "worth it" if cached else "not worth it"
    reason = f"storing {views} views makes {epochs} epochs {speedup:.2f} times as fast: {judgement}"
    return replace(made, cached=cached, reason=reason, epochs=epochs, speedup=round(speedup, 3), costs=costs)


def _obstacle(network: WholeNetwork, stage: Stage, trainable: Sequence[str]) -> str:
    """Why nothing may be stored whatever it costs; empty where there is no such reason."""
    if len(trainable) == len(list(network.model.parameters())):
        return "nothing is frozen"
    # A head is fitted to features as they are; mixing is for layers that can learn from it.
    if (network.plan.mixup or network.plan.cutmix) and not stage.head_only:
        return "images are mixed afresh in every epoch (train.mixup, train.cutmix)"
    return ""


def _measured(network: WholeNetwork, parts: Parts) -> Costs:
    """What an image costs either way, on some of the job's own, in the mode in which it trains."""
    count = min(_batch_images(network), len(network.train))
    numbers, generator = torch.arange(count), torch.Generator().manual_seed(0)
    parameters = [parameter for parameter in network.model.parameters() if parameter.requires_grad]

    def learn(logits: Tensor) -> None:
        torch.autograd.grad(to_float(logits).square().mean(), parameters, allow_unused=True)

    def stored() -> Tensor:
        with torch.no_grad():
            return parts.encoder.forward(network.varied(numbers.numpy(), generator))

    set_mode(network.model, _batch_images(network))
    with untouched(network.model), autocast(network.plan, network.device):
        activations = stored()
        tasks: list[Callable[[], object]] = [
            lambda: learn(network.train_forward(numbers, generator).logits),
            stored,
            lambda: learn(parts.suffix(activations.clone())),
        ]
        whole, prefix, suffix = (round(seconds / count, 9) for seconds in seconds_each(tasks, network.device))
    return Costs(whole, prefix, suffix)


def _prefix_views(plan: TrainingPlan) -> int:
    return max(_PREFIX_VIEWS[plan.augmentation], _VIEWS_WITH_FLIP if plan.flip else 1)


def _batch_images(network: WholeNetwork) -> int:
    return sampling.batch_images(network.plan, len(network.train), on_gpu=network.device.type == "cuda")


def _stands_for(network: WholeNetwork, stage: Stage, trainable: Sequence[str]) -> str:
    """A digest of what a choice depends on, but for the speed and the memory of the machine."""
    plan = network.plan
    facts = {
        "network": (plan.backbone, dict(plan.options), network.preprocessing.to_json()),
        "stage": asdict(stage),
        "trainable": list(trainable),
        "images": (len(network.train), len(network.select), plan.batch_images),
        "variety": (plan.augmentation, plan.flip, plan.mixup, plan.cutmix),
        "rest": (plan.seed, plan.precision, plan.most_epochs_per_stage),
    }
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
