"""Each contender as a process of its own, with the CPU seconds of all that it started."""

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from models.training.plan import TrainingPlan, write_plan
from models.training.run_folder import RunExample, write_examples
from tests.benchmarks.datasets import BACKBONE, MEAN_AND_STD, OPTIONS, Described, LabelledImage

ROOT = Path(__file__).parents[2]
_A_THIRD = 0.28  # of what the others really take: whole epochs seldom fill their budget
_ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1"}


@dataclass(frozen=True)
class Contender:
    """
    One way to train.

    Attributes:
        ours: the strategy of our job; empty = somebody else's.
        rival: full, head, recipe or fastai; empty = ours.
        share: of the budget of CPU seconds that it is given.
        tasks: that it takes part in.
    """

    name: str
    ours: str = ""
    rival: str = ""
    share: float = 1.0
    tasks: tuple[str, ...] = ("first", "retrain")


CONTENDERS = {
    contender.name: contender
    for contender in (
        Contender("auto in a third", ours="auto", share=_A_THIRD),
        Contender("staged in a third", ours="staged", share=_A_THIRD),
        Contender("auto", ours="auto", tasks=("retrain",)),
        Contender("staged", ours="staged", tasks=("retrain",)),
        Contender("full", rival="full"),
        Contender("full in a third", rival="full", share=_A_THIRD, tasks=("retrain",)),
        Contender("fastai", rival="fastai"),
        Contender("head", rival="head"),
    )
}


@dataclass(frozen=True)
class Work:
    """
    What every contender is given.

    Attributes:
        new_train: production images among `train`.
        weights: where it starts.
        champion: those weights are a champion's, head and all.
        budget_cpu_s: of the whole process tree, imports and decoding included.
        fastai_python: of an environment with fastai; None = its recipe, in our words.
    """

    described: Described
    classes: tuple[str, ...]
    train: Sequence[LabelledImage]
    select: Sequence[LabelledImage]
    weights: Path
    champion: bool
    seed: int
    budget_cpu_s: float
    fastai_python: Path | None


@dataclass(frozen=True)
class Done:
    """A finished contender: its weights, what it cost, and what it says of itself."""

    weights: Path
    cpu_s: float
    told: dict[str, Any]


def run(contender: Contender, work: Work, folder: Path) -> Done:
    """
    Train in a fresh folder.

    Raises:
        RuntimeError: the process failed; its last words.
    """
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    work = replace(work, budget_cpu_s=work.budget_cpu_s * contender.share)
    return _ours(contender.ours, work, folder) if contender.ours else _rival(contender.rival, work, folder)


def clock_per_cpu_second() -> float:
    """How much slower the clock runs than CPU time on this machine now: our budget is one by the clock."""
    began, began_cpu = time.monotonic(), time.process_time()
    while time.process_time() - began_cpu < 1:
        sum(range(10_000))
    return (time.monotonic() - began) / (time.process_time() - began_cpu)


def _ours(strategy: str, work: Work, folder: Path) -> Done:
    startup_cpu_s = cpu_seconds([sys.executable, "-c", "import models.training.loop"], folder)
    start = f"pretrained:{work.weights}"
    if work.champion:
        start = "champion"
        shutil.copy(work.weights, folder / "start.safetensors")
    plan = TrainingPlan(
        backbone=BACKBONE,
        classes=work.classes,
        options=OPTIONS,
        image_size=work.described.image_size,
        mean=MEAN_AND_STD,
        std=MEAN_AND_STD,
        start=start,
        strategy=strategy,
        seed=work.seed,
        flip=work.described.flip,
        budget_minutes=max(1.0, work.budget_cpu_s - startup_cpu_s) * clock_per_cpu_second() / 60,
        device="cpu",
        threads=1,
        licence="apache-2.0",
    )
    write_plan(plan, folder)
    write_examples(
        folder,
        [
            RunExample(
                image.path, image.label, role, group=image.look, source="production" if image.new else "manifest"
            )
            for role, images in (("train", work.train), ("select", work.select))
            for image in images
        ],
    )
    cpu_s = cpu_seconds([sys.executable, "-m", "models.training", "--run-dir", str(folder)], folder)
    report = json.loads((folder / "candidate" / "training.json").read_text())
    told = {"stages": report["stages"], "startup_cpu_s": round(startup_cpu_s, 3)}
    return Done(folder / "candidate" / "model.safetensors", cpu_s, told)


def _rival(kind: str, work: Work, folder: Path) -> Done:
    python, module = Path(sys.executable), "tests.benchmarks.rivals"
    if kind == "fastai" and work.fastai_python:
        python, module = work.fastai_python, "tests.benchmarks.fastai_rival"
    out, told = folder / "model.safetensors", folder / "told.json"
    job = {
        "kind": "recipe" if kind == "fastai" else kind,
        "classes": work.classes,
        "image_size": work.described.image_size,
        "flip": work.described.flip,
        "train": [(image.path, image.label) for image in work.train],
        "select": [(image.path, image.label) for image in work.select],
        "weights": str(work.weights),
        "champion": work.champion,
        "seed": work.seed,
        "budget_cpu_s": work.budget_cpu_s,
        "out": str(out),
        "told": str(told),
    }
    (folder / "job.json").write_text(json.dumps(job))
    cpu_s = cpu_seconds([str(python), "-m", module, str(folder / "job.json")], folder)
    by = "fastai" if module.endswith("fastai_rival") else "this benchmark"
    return Done(out, cpu_s, {**json.loads(told.read_text()), "by": by})


def cpu_seconds(command: Sequence[str], folder: Path) -> float:
    """
    User and system time of a command and of all that it waited for.

    Raises:
        RuntimeError: it failed; its last words.
    """
    words = folder / "words.txt"
    with words.open("wb") as out:
        child = subprocess.Popen(
            command, cwd=ROOT, stdout=out, stderr=subprocess.STDOUT, env={**os.environ, **_ONE_THREAD}
        )
        _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {child.returncode}:\n{words.read_text()[-3000:]}")
    return usage.ru_utime + usage.ru_stime
