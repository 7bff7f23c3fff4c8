"""A training job made ready: plan, images, network, stages, all that its stages share."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from models.layer_groups import LayerGroup, layer_groups, unfreezing_steps
from models.training import sampling
from models.training.averaging import RunningMean
from models.training.decoded import decoded_pixels
from models.training.distributed import Ranks, joined
from models.training.epochs import Workbench
from models.training.freezing import build_optimizer, has_batch_norm
from models.training.frozen.pooled_features import head_factor
from models.training.plan import TrainingPlan, read_plan
from models.training.precision import unheeded
from models.training.progress import EpochProgress, remark
from models.training.run_folder import RunExample, read_examples
from models.training.stages import Circumstances, Stage, automatic_rate, plan_stages
from models.training.start import Start, starting_network
from models.training.whole_network import WholeNetwork, of_role

_STEPS_DOWN = 2  # top half and all: each further step takes its epochs from the last


@dataclass(frozen=True)
class Job:
    """
    Attributes:
        plan: its start as it came to be: weights that could not be fetched make it "scratch".
        data: fingerprint of the images.
        draw: takes every epoch that is told; nothing by itself.
    """

    run_dir: Path
    plan: TrainingPlan
    start: Start
    examples: tuple[RunExample, ...]
    stages: tuple[Stage, ...]
    bench: Workbench
    network: WholeNetwork
    data: str
    draw: Callable[[EpochProgress], None] = lambda epoch: None

    @property
    def progress(self) -> Path:
        return self.run_dir / "progress.jsonl"

    @property
    def checkpoint(self) -> Path:
        return self.run_dir / "checkpoint.pt"


@contextmanager
def opened(run_dir: Path) -> Iterator[Job]:
    """
    The job of a run directory, together with the other processes of the same training.

    Raises:
        UserError: the plan, the images or the weights cannot be used.
    """
    plan = read_plan(run_dir)
    with joined(plan.device) as (ranks, device):
        yield _prepared(run_dir, plan, ranks, device)


def _prepared(run_dir: Path, plan: TrainingPlan, ranks: Ranks, device: torch.device) -> Job:
    examples = tuple(row for row in read_examples(run_dir, plan) if row.role != "judge")
    if plan.threads:
        torch.set_num_threads(plan.threads)
    torch.manual_seed(plan.seed)  # a new head starts from these
    start = starting_network(plan, run_dir)
    for words in (start.remark, unheeded(plan, device)):
        if words and ranks.first:
            remark(run_dir / "progress.jsonl", words)
    # One decodes; the others find it done.
    ranks.told(lambda: decoded_pixels(run_dir, examples, start.preprocessing)[1])
    pixels, data = decoded_pixels(run_dir, examples, start.preprocessing)
    # Convolutions are a sixth faster with the channels innermost; other layers do not mind.
    model = start.model.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    ranks.same_everywhere(model)
    groups = layer_groups(model)
    train, select = (of_role(pixels, examples, role, plan.classes, device) for role in ("train", "select"))
    network = WholeNetwork(model, train, select, plan, start.preprocessing)
    trained = [row for row in examples if row.role == "train"]
    rate = plan.learning_rate or automatic_rate(batch_norm=has_batch_norm(model))
    bench = Workbench(
        plan=plan,
        model=model,
        groups=groups,
        optimizer=build_optimizer(model, groups, plan.weight_decay, fused=device.type == "cuda"),
        device=device,
        ranks=ranks,
        labels=train.labels,
        weights=sampling.loss_weights(plan, train.labels, train.weights),
        new=torch.tensor([row.source == "production" for row in trained]),
        select_labels=select.labels,
        anchors=_anchors(model, groups) if plan.l2_sp else {},
        mean=RunningMean(model, plan.ema_decay) if plan.ema_decay else None,
        rate=rate,
        batch_images=sampling.batch_images(plan, len(train), on_gpu=device.type == "cuda"),
        head_factor=1.0 if start.scratch else head_factor(network, rate),
    )
    stages = plan_stages(plan.strategy, _circumstances(plan, start, model, groups, train.labels))
    return Job(run_dir, plan, start, examples, stages, bench, network, data)


def _circumstances(
    plan: TrainingPlan, start: Start, model: nn.Module, groups: Sequence[LayerGroup], labels: Tensor
) -> Circumstances:
    return Circumstances(
        groups=len(groups),
        steps=unfreezing_steps(groups, _STEPS_DOWN),
        start="scratch" if start.scratch else plan.start,
        shift=plan.shift,
        schedule=plan.schedule,
        batch_norm=has_batch_norm(model),
        images_per_class=int(torch.bincount(labels, minlength=len(plan.classes)).min()),
    )


def _anchors(model: nn.Module, groups: Sequence[LayerGroup]) -> dict[str, Tensor]:
    head = set(groups[-1].parameters)
    return {name: tensor.detach().clone() for name, tensor in model.named_parameters() if name not in head}
