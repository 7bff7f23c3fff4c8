"""`python -m tests.benchmarks.rivals JOB.json`: what people do without us, written as well as we can."""

import copy
import json
import math
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.optim.lr_scheduler import OneCycleLR

from tests.benchmarks import networks

_BATCH = 32
_TUTORIAL_RATE, _TUTORIAL_DECAY = 1e-3, 0.01
_BASE_RATE, _RATE_SPREAD = 2e-3, 100  # fastai's
_STRENGTHS = (1e-5, 1e-4, 1e-3, 1e-2, 1e-1)  # of the linear probe's L2


@dataclass(frozen=True)
class _Job:
    model: nn.Module
    train: Tensor  # uint8 (N, 3, S, S)
    labels: Tensor
    select: Tensor
    select_labels: Tensor
    flip: bool
    budget_cpu_s: float
    champion: bool


def main() -> None:
    """Do one job; CPU time is counted from the start of the process, imports and decoding included."""
    said = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(1)
    torch.manual_seed(said["seed"])
    began_s = time.process_time()
    classes, size = said["classes"], said["image_size"]
    job = _Job(
        networks.network(len(classes), Path(said["weights"]), champion=said["champion"]),
        networks.pixels([path for path, _ in said["train"]], size),
        networks.numbers([label for _, label in said["train"]], classes),
        networks.pixels([path for path, _ in said["select"]], size),
        networks.numbers([label for _, label in said["select"]], classes),
        said["flip"],
        said["budget_cpu_s"],
        said["champion"],
    )
    kinds: dict[str, Callable[[_Job], dict[str, Any]]] = {"full": _full, "head": _head, "recipe": _recipe}
    told = kinds[said["kind"]](job)
    networks.save(job.model, Path(said["out"]))
    Path(said["told"]).write_text(json.dumps({**told, "startup_cpu_s": round(began_s, 3)}))


def _full(job: _Job) -> dict[str, Any]:
    """A tutorial's: all layers at one rate, AdamW, cosine, light augmentation; the best epoch by *select* is kept."""
    optimizer = torch.optim.AdamW(job.model.parameters(), _TUTORIAL_RATE, weight_decay=_TUTORIAL_DECAY)
    best, kept, trained, begins_s = -1.0, copy.deepcopy(job.model.state_dict()), 0.0, time.process_time()
    select_s = _timed_s(lambda: networks.logits(job.model, job.select[:_BATCH])) * len(job.select) / _BATCH
    ends_s = max(job.budget_cpu_s - select_s, begins_s + 1.0)
    while (now_s := time.process_time()) < ends_s:
        job.model.train()
        for batch in _shuffled(job):
            # Follows the CPU time instead of a number of epochs, so that the budget is used up, no more and no less.
            spent = min(1.0, (now_s - begins_s) / (ends_s - begins_s))
            for group in optimizer.param_groups:
                group["lr"] = _TUTORIAL_RATE * (1 + math.cos(math.pi * spent)) / 2
            _update(job, batch, optimizer)
            trained += 1 / _batches(job)
            now_s = time.process_time()
            if now_s >= ends_s:
                break
        found = networks.scores(networks.logits(job.model, job.select), job.select_labels)["macro_recall"]
        if found >= best:
            best, kept = found, copy.deepcopy(job.model.state_dict())
    job.model.load_state_dict(kept)
    return {"epochs": round(trained, 1)}


def _head(job: _Job) -> dict[str, Any]:
    """A linear probe: features once, the best of several strengths of L2 by *select*; nothing else moves."""
    classifier = job.model.get_classifier()  # type: ignore[operator]
    features, select = (_features(job.model, images) for images in (job.train, job.select))
    scale = features.std()
    best = (-1.0, classifier.state_dict())
    for strength in _STRENGTHS:
        probe = nn.Linear(features.shape[1], classifier.out_features)
        nn.init.zeros_(probe.weight)
        nn.init.zeros_(probe.bias)
        _fit(probe, features / scale, job.labels, strength)
        found = networks.scores(probe(select / scale), job.select_labels)["macro_recall"]
        if found > best[0]:
            best = (found, {"weight": probe.weight.detach() / scale, "bias": probe.bias.detach()})
    classifier.load_state_dict(best[1])
    return {"epochs": 1}


def _recipe(job: _Job) -> dict[str, Any]:
    """fastai's `fine_tune`, for where fastai itself cannot be installed: the same rates, schedules and optimizer."""
    head = list(job.model.get_classifier().parameters())  # type: ignore[operator]
    norms = {id(p) for m in job.model.modules() if isinstance(m, nn.BatchNorm2d) for p in m.parameters()}
    body = [parameter for parameter in job.model.parameters() if all(parameter is not own for own in head)]
    epochs = max(1, _affordable(job) - 1)  # the frozen one costs about as much
    for parameter in body:
        parameter.requires_grad_(id(parameter) in norms)  # fastai never freezes these
    _one_cycle(job, [(body, _BASE_RATE), (head, _BASE_RATE)], 1, 0.99, 25.0)
    for parameter in body:
        parameter.requires_grad_(True)
    rate = _BASE_RATE / 2
    _one_cycle(job, [(body, rate / _RATE_SPREAD), (head, rate)], epochs, 0.3, 5.0)
    return {"epochs": epochs + 1}


def _one_cycle(
    job: _Job, groups: list[tuple[list[nn.Parameter], float]], epochs: int, start: float, div: float
) -> None:
    optimizer = torch.optim.AdamW(
        [{"params": parameters, "lr": rate} for parameters, rate in groups],
        betas=(0.95, 0.99),
        eps=1e-5,
        weight_decay=0.01,
    )
    schedule = OneCycleLR(
        optimizer,
        [rate for _, rate in groups],
        total_steps=epochs * _batches(job) + 1,
        pct_start=start,
        div_factor=div,
        final_div_factor=1e5 / div,
    )
    for _ in range(epochs):
        job.model.train()
        for batch in _shuffled(job):
            _update(job, batch, optimizer)
            schedule.step()


def _affordable(job: _Job) -> int:
    """How many epochs the rest of the budget pays for, by a few batches through a copy that is thrown away."""
    trial = _Job(**{**vars(job), "model": copy.deepcopy(job.model)})
    optimizer = torch.optim.AdamW(trial.model.parameters(), 0.0)
    trial.model.train()
    _update(trial, torch.arange(_BATCH), optimizer)
    batch_s = _timed_s(lambda: _update(trial, torch.arange(_BATCH), optimizer))
    select_s = batch_s * len(job.select) / _BATCH / 4  # forward only, without augmentation
    return max(1, int((job.budget_cpu_s - time.process_time()) / (batch_s * _batches(job) + select_s)))


def _timed_s(work: Callable[[], object]) -> float:
    """CPU seconds, the middle of five."""
    found = []
    for _ in range(5):
        began_s = time.process_time()
        work()
        found.append(time.process_time() - began_s)
    return sorted(found)[2]


def _batches(job: _Job) -> int:
    return len(job.train) // _BATCH


def _shuffled(job: _Job) -> tuple[Tensor, ...]:
    return torch.randperm(len(job.train))[: _batches(job) * _BATCH].split(_BATCH)


def _update(job: _Job, batch: Tensor, optimizer: torch.optim.Optimizer) -> None:
    optimizer.zero_grad(set_to_none=True)
    answers = job.model(networks.normalised(_varied(job.train[batch], flip=job.flip)))
    functional.cross_entropy(answers, job.labels[batch]).backward()
    optimizer.step()


def _varied(images: Tensor, *, flip: bool) -> Tensor:
    """Rotated up to 10°, moved up to 5 %, scaled and lit up to 10 % and 20 %: the light augmentation of a tutorial."""
    count, batch = len(images), images.float()
    angle, zoom = (_drawn(count) * 10 * math.pi / 180, 1 + 0.1 * _drawn(count))
    cosine, sine = torch.cos(angle) / zoom, torch.sin(angle) / zoom
    side = torch.where(torch.rand(count) < 0.5, -1.0, 1.0) if flip else torch.ones(count)
    motion = torch.stack([cosine * side, -sine, 0.1 * _drawn(count), sine * side, cosine, 0.1 * _drawn(count)], dim=1)
    grid = functional.affine_grid(motion.view(-1, 2, 3), list(batch.shape), align_corners=False)
    moved = functional.grid_sample(batch, grid, padding_mode="border", align_corners=False)
    contrast, light = ((1 + 0.2 * _drawn(count)).view(-1, 1, 1, 1) for _ in range(2))
    middle = moved.mean(dim=(1, 2, 3), keepdim=True)
    return ((moved - middle) * contrast + middle * light).clamp(0, 255)


def _drawn(count: int) -> Tensor:
    return 2 * torch.rand(count) - 1


def _features(model: nn.Module, images: Tensor) -> Tensor:
    model.eval()
    with torch.no_grad():
        pieces = [networks.normalised(piece) for piece in images.split(128)]
        return torch.cat(
            [model.forward_head(model.forward_features(piece), pre_logits=True) for piece in pieces]  # type: ignore[operator]
        )


def _fit(probe: nn.Linear, features: Tensor, labels: Tensor, strength: float) -> None:
    optimizer = torch.optim.LBFGS(probe.parameters(), max_iter=100, line_search_fn="strong_wolfe")

    def loss() -> Tensor:
        optimizer.zero_grad()
        found = functional.cross_entropy(probe(features), labels) + strength * probe.weight.square().sum()
        found.backward()  # type: ignore[no-untyped-call]
        return found

    optimizer.step(loss)  # type: ignore[arg-type]


if __name__ == "__main__":
    main()
