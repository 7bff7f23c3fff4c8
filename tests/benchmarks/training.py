"""`make bench-training`: our training job beside what people do without it, at equal data, seeds and CPU seconds."""

import argparse
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.benchmarks import networks
from tests.benchmarks.contenders import CONTENDERS, ROOT, Contender, Work, run
from tests.benchmarks.datasets import DATA_SETS, WEIGHTS, Described, Split, data_folder, split, unpacked
from tests.benchmarks.results import Measured
from tests.benchmarks.training_table import write_table

TASKS = ("first", "retrain")
_KEYS = ("dataset", "task", "contender", "seed", "budget_cpu_s", "image_size")
# Whose result of the first task every retraining starts from: a rival's, so that no start suits us.
_CHAMPIONS_BY = "full"


def main() -> None:
    """Measure what has not been measured yet, then write the table; breaking it off loses one measurement."""
    asked = _asked()
    measured = Measured(asked.work / "measured.jsonl", _KEYS)
    if not asked.table:
        _measure_all(asked, data_folder(asked.data), measured)
    write_table(measured.rows(), asked.budget)


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-training", description=__doc__)
    parser.add_argument("--data", type=Path, help="with meter_digits, magnetic_tile and weights; or KEDGE_BENCH_DATA")
    parser.add_argument("--work", type=Path, default=ROOT / "build" / "bench-training", help="for partial results")
    parser.add_argument("--budget", type=float, default=60.0, help="CPU seconds for each contender, start included")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--datasets", nargs="+", choices=list(DATA_SETS), default=list(DATA_SETS))
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument("--contenders", nargs="+", choices=list(CONTENDERS), default=list(CONTENDERS))
    parser.add_argument("--again", nargs="+", choices=list(CONTENDERS), default=[], help="measure these again")
    parser.add_argument("--fastai", action="store_true", help="install fastai into an environment of its own")
    parser.add_argument("--fastai-python", type=Path, help="of an environment that has fastai, timm and safetensors")
    parser.add_argument("--most-minutes", type=float, default=0.0, help="begin nothing after so long; 0 = go on")
    parser.add_argument("--table", action="store_true", help="only write the table of what has been measured")
    return parser.parse_args()


def _measure_all(asked: argparse.Namespace, data: Path, measured: Measured) -> None:
    began = time.monotonic()
    fastai_python = asked.fastai_python or (_fastai_python(asked.work) if asked.fastai else None)
    # Seeds outermost, so that contenders take turns and a broken-off run has a bit of everything.
    for seed in asked.seeds:
        for name in asked.datasets:
            described = DATA_SETS[name]
            roles = split(described.read(unpacked(data, name, asked.work)), described, seed)
            for task in asked.tasks:
                for contender in _in_turn(asked.contenders, seed):
                    if asked.most_minutes and time.monotonic() - began > asked.most_minutes * 60:
                        return
                    row = _row(described, task, contender.name, seed, asked.budget)
                    if task in contender.tasks and (row not in measured or contender.name in asked.again):
                        champion = None
                        if task == "retrain":
                            champion = _champion(asked, data, described, roles, seed, measured)
                        work = _work(asked, data, described, roles, seed, champion, fastai_python)
                        _measure(row, contender, work, roles, asked.work, measured)


def _in_turn(names: Sequence[str], seed: int) -> Iterator[Contender]:
    """Everybody is first once, and last once."""
    for position in range(len(names)):
        yield CONTENDERS[names[(position + seed) % len(names)]]


def _row(described: Described, task: str, contender: str, seed: int, budget_cpu_s: float) -> dict[str, Any]:
    return {
        "dataset": described.name,
        "task": task,
        "contender": contender,
        "seed": seed,
        "budget_cpu_s": budget_cpu_s,
        "image_size": described.image_size,
    }


def _work(
    asked: argparse.Namespace,
    data: Path,
    described: Described,
    roles: Split,
    seed: int,
    champion: Path | None,
    fastai_python: Path | None,
) -> Work:
    """The first model sees old images only; a retraining sees the same replay of them, and the new ones."""
    train, select = roles.old["train"], roles.old["select"]
    if champion:
        train = (*train[: described.replay], *roles.new["train"])
        select = (*select, *roles.new["select"])
    return Work(
        described=described,
        classes=roles.classes,
        train=train,
        select=select,
        weights=(champion or data / "weights" / WEIGHTS).resolve(),
        champion=champion is not None,
        seed=seed,
        budget_cpu_s=asked.budget,
        fastai_python=fastai_python,
    )


def _measure(
    row: dict[str, Any], contender: Contender, work: Work, roles: Split, folder: Path, measured: Measured
) -> None:
    done = run(contender, work, folder.resolve() / "run")
    found = networks.judged(done.weights, roles.classes, _tests(roles), work.described.image_size)
    if row["task"] == "first" and contender.name == _CHAMPIONS_BY:
        path = _champion_path(folder, work.described, work.seed, row["budget_cpu_s"])
        path.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(done.weights, path)
    images = {"train": len(work.train), "select": len(work.select)}
    images |= {f"{name}_test": len(tested) for name, tested in _tests(roles).items()}
    measured.add({**row, **found, "cpu_s": round(done.cpu_s, 2), "images": images, "told": done.told})
    print(
        f"{row['dataset']} {row['task']} seed {row['seed']} {contender.name}: old {found['old_accuracy']:.1%}, "
        f"new {found['new_accuracy']:.1%}, {done.cpu_s:.1f} CPU-s",
        flush=True,
    )


def _tests(roles: Split) -> dict[str, Any]:
    return {"old": roles.old["test"], "new": roles.new["test"]}


def _champion(
    asked: argparse.Namespace, data: Path, described: Described, roles: Split, seed: int, measured: Measured
) -> Path:
    """The weights every retraining of this seed starts from, made and judged if need be."""
    path = _champion_path(asked.work, described, seed, asked.budget)
    if not path.is_file():
        work = _work(asked, data, described, roles, seed, None, None)
        row = _row(described, "first", _CHAMPIONS_BY, seed, asked.budget)
        _measure(row, CONTENDERS[_CHAMPIONS_BY], work, roles, asked.work, measured)
    row = _row(described, "retrain", "champion", seed, asked.budget)
    if row not in measured:
        found = networks.judged(path, roles.classes, _tests(roles), described.image_size)
        measured.add({**row, **found, "cpu_s": 0.0})
    return path


def _champion_path(folder: Path, described: Described, seed: int, budget_cpu_s: float) -> Path:
    return (
        folder.resolve() / "champions" / f"{described.name}-{described.image_size}-{seed}-{budget_cpu_s:g}.safetensors"
    )


def _fastai_python(work: Path) -> Path | None:
    """An environment with fastai in the work folder, made once; None where it cannot be installed."""
    folder = work.resolve() / "fastai"
    python = folder / "bin" / "python"
    if not (folder / "installed").is_file():
        install = [str(python), "-m", "pip", "install", "--quiet", "fastai", "timm", "safetensors"]
        try:
            subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
            subprocess.run(install, check=True)
            subprocess.run([str(python), "-c", "import fastai.vision.all"], check=True, capture_output=True)
        except subprocess.CalledProcessError as problem:
            print(f"fastai cannot be installed ({problem}); its recipe is run in our words", file=sys.stderr)
            return None
        (folder / "installed").touch()
    return python


if __name__ == "__main__":
    main()
