"""`make bench-throughput`: training images per second on a GPU, ours beside timm's plain loop. Needs torch and timm."""

import statistics
import sys
import time
from collections.abc import Callable

import timm
import torch
from torch import nn
from torch.nn import functional

from tests.benchmarks.table import Figure, Row, write

# Network: GFLOP of one training step for an image of 224 px (three forward passes), images a second to reach.
NETWORKS = {
    "resnet50": (24.7, 5_000),
    "convnext_tiny": (26.8, 3_500),
    "vit_small_patch16_224": (27.7, 8_000),
    "vit_base_patch16_224": (105.5, 2_000),
}
_BATCH, _SIZE, _CLASSES = 256, 224, 1000
_UPDATES, _ROUNDS = 30, 3
_MATRIX = 8192  # of the product that the card's peak is measured with
_COMMAND = "make bench-throughput"
_TITLE = "Training images per second on a GPU"
# Why a goal is not met, by network. Without one, the figure.
REASONS: dict[str, str] = {}

Step = Callable[[], None]


def main() -> None:
    """Random images that lie on the card already: the step, not the disk, is measured."""
    if not torch.cuda.is_available():
        reason = "no accelerator could be used"
        rows = [
            Row(f"{network}, bf16", "images/s", None, {}, f"≥ {goal:,}", False, reason)
            for network, (_, goal) in NETWORKS.items()
        ]
        write("throughput", _TITLE, _COMMAND, rows, ("Run it where torch sees a GPU; it needs torch and timm only.",))
        print(f"not met: {reason}", file=sys.stderr)
        return
    peak = _peak_tflops()
    rows = [row for network in NETWORKS for row in _rows(network, peak)]
    notes = (
        f"{torch.cuda.get_device_name()}, {_BATCH} random images of {_SIZE} px on the card.",
        f"Median of {_ROUNDS} rounds of {_UPDATES} updates, in turn.",
        f"Peak: a bf16 product of matrices of {_MATRIX} by {_MATRIX}, {peak:.0f} TFLOP/s on this card.",
        "ours: bf16 autocast, channels last, fused AdamW, compiled. timm: its plain loop, bf16 autocast and AdamW.",
        "cached: ours with all but the last stage or block computed once; its step alone.",
    )
    write("throughput", _TITLE, _COMMAND, rows, notes)


def _rows(network: str, peak: float) -> list[Row]:
    steps: dict[str, Callable[[str], Step]] = {"ours": _ours, "timm": _timm, "cached": _cached}
    made = {name: make(network) for name, make in steps.items()}
    found: dict[str, list[float]] = {name: [] for name in made}
    for _ in range(_ROUNDS):
        for name, step in made.items():
            found[name].append(_BATCH * _UPDATES / _seconds(step))
    gflop, goal = NETWORKS[network]
    ours, timm_, cached = (Figure(tuple(found[name])) for name in ("ours", "timm", "cached"))
    shares = {name: Figure(tuple(100 * value * gflop / 1000 / peak for value in found[name])) for name in found}
    met = ours.middle >= goal
    reason = "" if met else REASONS.get(network, f"{ours.middle:,.0f} only")
    print(f"{network}: {statistics.median(found['ours']):,.0f} images/s", flush=True)
    return [
        Row(
            f"{network}, bf16", "images/s", ours, {"timm": timm_, "cached": cached}, f"≥ {goal:,}", met, reason, ",.0f"
        ),
        Row(f"{network}, bf16", "% of peak", shares["ours"], {"timm": shares["timm"]}, form=".1f"),
    ]


def _ours(network: str) -> Step:
    model = _model(network).to(memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW(model.parameters(), 1e-4, fused=True)
    images = _images().to(memory_format=torch.channels_last)
    return _step(torch.compile(model), optimizer, images)


def _timm(network: str) -> Step:
    model = _model(network)
    return _step(model, torch.optim.AdamW(model.parameters(), 1e-4), _images())


def _cached(network: str) -> Step:
    """The last stage or block on what the frozen ones gave for it."""
    model = _model(network).to(memory_format=torch.channels_last)
    model.requires_grad_(False)
    last, suffix = _last_part(model)
    kept: list[torch.Tensor] = []
    hook = last.register_forward_pre_hook(lambda _, inputs: kept.append(inputs[0].detach()))
    model.eval()
    with torch.no_grad(), torch.autocast("cuda", torch.bfloat16):
        model(_images().to(memory_format=torch.channels_last))
    hook.remove()
    suffix.requires_grad_(True).train()
    optimizer = torch.optim.AdamW([each for each in suffix.parameters() if each.requires_grad], 1e-4, fused=True)
    return _step(torch.compile(suffix), optimizer, kept[0])


class _Suffix(nn.Module):
    def __init__(self, model: nn.Module, last: nn.Module) -> None:
        super().__init__()
        self.last = last
        self.rest = getattr(model, "norm", nn.Identity())
        self.outer = (model,)  # in a tuple, its frozen layers are no submodules
        self.head = model.get_classifier()  # type: ignore[operator]

    def forward(self, activations: torch.Tensor) -> torch.Tensor:
        features = self.last(activations)
        features = self.rest(features)
        logits: torch.Tensor = self.outer[0].forward_head(features)  # type: ignore[operator]
        return logits


def _last_part(model: nn.Module) -> tuple[nn.Module, nn.Module]:
    stages = next(getattr(model, name) for name in ("layer4", "stages", "blocks") if hasattr(model, name))
    last: nn.Module = stages if hasattr(model, "layer4") else stages[-1]
    return last, _Suffix(model, last)


def _step(
    model: Callable[[torch.Tensor], torch.Tensor], optimizer: torch.optim.Optimizer, inputs: torch.Tensor
) -> Step:
    labels = torch.randint(_CLASSES, (_BATCH,), device="cuda")

    def step() -> None:
        optimizer.zero_grad(set_to_none=True)
        with torch.autocast("cuda", torch.bfloat16):
            loss = functional.cross_entropy(model(inputs), labels)
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()

    return step


def _model(network: str) -> nn.Module:
    torch.manual_seed(0)
    model: nn.Module = timm.create_model(network, num_classes=_CLASSES)
    return model.cuda().train()


def _images() -> torch.Tensor:
    return torch.randn(_BATCH, 3, _SIZE, _SIZE, device="cuda")


def _seconds(step: Step) -> float:
    for _ in range(5):
        step()
    torch.cuda.synchronize()
    began = time.perf_counter()
    for _ in range(_UPDATES):
        step()
    torch.cuda.synchronize()
    return time.perf_counter() - began


def _peak_tflops() -> float:
    left, right = (torch.randn(_MATRIX, _MATRIX, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    out = torch.empty_like(left)

    def product() -> None:
        torch.mm(left, right, out=out)

    return 2 * _MATRIX**3 * _UPDATES / _seconds(product) / 1e12


if __name__ == "__main__":
    main()
