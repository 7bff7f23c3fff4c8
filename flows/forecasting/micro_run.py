"""The micro-run: the real training with a tenth of its images and few epochs, in a folder of its own."""

import shutil
from collections.abc import Sequence
from dataclasses import replace
from math import ceil
from pathlib import Path

from flows import launcher
from flows.collecting.images import content_of
from flows.collecting.replay import replay
from flows.collecting.snapshot import PRODUCTION, Snapshot
from flows.workplace import Workplace
from models.examples import Example
from models.runtime import Runtime
from models.training.plan import TrainingPlan, read_plan, write_plan
from models.training.run_folder import RunExample, write_examples

SHARE = 10
_MOST_EPOCHS = 2
_LEAST_MINUTES = 0.2


def micro_run(place: Workplace, run_dir: Path, snapshot: Snapshot, select: Sequence[Example]) -> Runtime:
    """
    Train and export; what was broken off is gone on with. The folder is the caller's to remove.

    Args:
        place: The project.
        run_dir: Of the whole job, filled: its images are read there, and its plan is made smaller.
        snapshot: Its images.
        select: The fresh images that will be looked at; they also say when to stop.

    Raises:
        UserError: training or export failed.
    """
    folder = micro_folder(run_dir)
    if not (folder / "examples.csv").exists():
        _fill(place, folder, run_dir, snapshot, select)
    launcher.train(folder)
    launcher.export(folder)
    return Runtime.open(folder / "candidate")


def micro_folder(run_dir: Path) -> Path:
    """Where it works."""
    return run_dir / "forecast"


def _fill(place: Workplace, folder: Path, run_dir: Path, snapshot: Snapshot, select: Sequence[Example]) -> None:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    plan = read_plan(run_dir)
    shutil.copyfile(run_dir / "start.safetensors", folder / "start.safetensors")
    write_plan(_smaller(plan), folder)
    seed, subgroups = place.settings.train.seed, place.settings.data.subgroups
    chosen = [
        *(("train", one) for part in _parts(snapshot.train) for one in _tenth(part, plan, seed, subgroups)),
        *(("select", one) for one in _tenth(_others(snapshot.select, select), plan, seed, subgroups)),
        *(("select", one) for one in select),
    ]
    images = (run_dir / "images").resolve()
    rows = [
        RunExample(str(images / content_of(one)), one.label, role, 1.0, one.group, one.source) for role, one in chosen
    ]
    # Last: by it a whole folder is known.
    write_examples(folder, rows)


def _smaller(plan: TrainingPlan) -> TrainingPlan:
    return replace(
        plan,
        most_epochs_per_stage=min(plan.most_epochs_per_stage, _MOST_EPOCHS),
        least_epochs_per_stage=1,
        budget_minutes=max(_LEAST_MINUTES, plan.budget_minutes / SHARE),
        # What is cached of a tenth helps nobody afterwards.
        features_dir="",
    )


def _parts(examples: Sequence[Example]) -> tuple[list[Example], list[Example]]:
    """New and old apart, so that each gives its tenth."""
    new = [one for one in examples if one.source == PRODUCTION]
    return new, [one for one in examples if one.source != PRODUCTION]


def _tenth(examples: Sequence[Example], plan: TrainingPlan, seed: int, subgroups: Sequence[str]) -> Sequence[Example]:
    """A tenth, and of each class at least one: classes take turns."""
    return replay(examples, max(ceil(len(examples) / SHARE), len(plan.classes)), seed, subgroups)


def _others(examples: Sequence[Example], chosen: Sequence[Example]) -> list[Example]:
    images = {one.image for one in chosen}
    return [one for one in examples if one.image not in images]
