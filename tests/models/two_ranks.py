"""Run by torchrun: after each unfreeze, are the gradients of all processes the same, and those of one process?"""

import json
import sys
from dataclasses import replace
from pathlib import Path

import torch
from torch import Tensor, distributed

from models.backbone import build
from models.layer_groups import layer_groups
from models.training.distributed import Ranks, joined
from models.training.epochs import Workbench, _gradients
from models.training.freezing import build_optimizer, set_mode, set_trainable, trainable_names
from models.training.plan import TrainingPlan
from models.training.stages import Circumstances, plan_stages
from models.training.whole_network import Forward

PLAN = TrainingPlan("test_vit", ("a", "b", "c"), augmentation="none", image_size=32, batch_images=8)
CLASSES, IMAGES = 3, 8


class Pictures:
    """A source of given images; calls what it is told to call."""

    def __init__(self, images: Tensor, forward: torch.nn.Module) -> None:
        self.images, self.forward = images, forward

    def train_forward(self, numbers: Tensor, generator: torch.Generator) -> Forward:
        return Forward(self.forward(self.images[numbers]))


def main(out: Path) -> None:
    with joined("cpu") as (ranks, device):
        torch.manual_seed(ranks.rank)  # the ranks begin apart: they must be brought together
        model = build("test_vit", {}, CLASSES, image_size=32)
        ranks.same_everywhere(model)
        groups = layer_groups(model)
        images = torch.randn(IMAGES, 3, 32, 32, generator=torch.Generator().manual_seed(5))
        labels = torch.arange(IMAGES) % CLASSES
        bench = Workbench(
            plan=PLAN, model=model, groups=groups, optimizer=build_optimizer(model, groups, 0.0), device=device,
            ranks=ranks, labels=labels, weights=torch.linspace(0.5, 1.5, IMAGES), new=torch.zeros(IMAGES, dtype=bool),
            select_labels=labels, anchors={}, mean=None, batch_images=IMAGES, rate=0.001,
        )  # fmt: skip
        stages = plan_stages("staged", Circumstances(len(groups), (len(groups) // 2, 0), start="timm"))
        findings = [compared(bench, images, trainable_names(model, groups, stage)) for stage in stages]
        if ranks.first:
            out.write_text(json.dumps(findings))


def compared(bench: Workbench, images: Tensor, names: tuple[str, ...]) -> dict[str, float]:
    """How far the gradients are from the other process's, and from those of one process alone."""
    set_trainable(bench.model, names)
    set_mode(bench.model, IMAGES)
    wrapped = bench.ranks.wrapped(bench.model)
    together = gradients(bench, Pictures(images, wrapped), wrapped)
    alone = gradients(replace(bench, ranks=Ranks()), Pictures(images, bench.model), bench.model)
    theirs = [torch.empty_like(together) for _ in range(bench.ranks.size)]
    distributed.all_gather(theirs, together)
    return {
        "trained": len(names),
        "size": float(together.abs().max()),
        "between": float(max((each - together).abs().max() for each in theirs)),
        "alone": float((alone - together).abs().max()),
    }


def gradients(bench: Workbench, source: Pictures, forward: torch.nn.Module) -> Tensor:
    bench.model.zero_grad(set_to_none=True)
    # In two pieces, so that the exchange after the last one is tried as well.
    _gradients(bench, source, forward, torch.arange(IMAGES), 2, torch.Generator())
    return torch.cat([each.grad.flatten() for each in bench.model.parameters() if each.grad is not None])


if __name__ == "__main__":
    main(Path(sys.argv[1]))
