"""The images of a run directory: `examples.csv`, a row per image."""

import csv
import io
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.errors import UserError
from infra.files import write_atomically
from models.training.plan import TrainingPlan

_COLUMNS = ("image", "label", "role", "weight", "group", "source")
_ROLES = ("train", "select", "judge")
_NAMED = 5


@dataclass(frozen=True)
class RunExample:
    """
    One image of a run.

    Attributes:
        image: path, from the run directory or absolute.
        role: train, select, or judge (which training never opens).
        weight: of its loss, relative to the others; 1 is usual.
        source: manifest or production.
    """

    image: str
    label: str
    role: str
    weight: float = 1.0
    group: str = ""
    source: str = "manifest"


def write_examples(run_dir: Path, examples: Sequence[RunExample]) -> None:
    """Write examples.csv."""
    text = io.StringIO()
    rows = csv.writer(text, lineterminator="\n")
    rows.writerow(_COLUMNS)
    rows.writerows((row.image, row.label, row.role, f"{row.weight:g}", row.group, row.source) for row in examples)
    write_atomically(run_dir / "examples.csv", text.getvalue())


def read_examples(run_dir: Path, plan: TrainingPlan) -> tuple[RunExample, ...]:
    """
    The rows of examples.csv, checked against the plan.

    Raises:
        UserError: with every mistake: columns, roles, weights, unknown classes, classes or roles without images.
    """
    path = run_dir / "examples.csv"
    try:
        with path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            missing = [name for name in _COLUMNS[:3] if name not in (reader.fieldnames or ())]
            if missing:
                raise UserError(f"{path} lacks the columns {', '.join(missing)}")
            rows = list(reader)
    except FileNotFoundError as problem:
        raise UserError(f"{run_dir} is no run directory: it has no examples.csv") from problem
    examples = tuple(
        RunExample(
            image=row["image"],
            label=row["label"],
            role=row["role"],
            weight=_weight(row.get("weight") or "1"),
            group=row.get("group") or row["image"],
            source=row.get("source") or "manifest",
        )
        for row in rows
    )
    mistakes = _mistakes(examples, plan)
    if mistakes:
        raise UserError(f"{path} cannot be used:\n  " + "\n  ".join(mistakes))
    return examples


def _weight(text: str) -> float:
    try:
        return float(text)
    except ValueError:
        return float("nan")


def _mistakes(examples: Sequence[RunExample], plan: TrainingPlan) -> list[str]:
    roles = [f"{row.image}: {row.role!r}" for row in examples if row.role not in _ROLES]
    weights = [row.image for row in examples if not 0 < row.weight < float("inf")]
    unknown = sorted({row.label for row in examples} - set(plan.classes))
    trained = Counter(row.label for row in examples if row.role == "train")
    untrained = [name for name in plan.classes if not trained[name]]
    mistakes = [
        f"{what}: {', '.join(found[:_NAMED])}{', …' if len(found) > _NAMED else ''}"
        for what, found in (
            ("role must be train, select or judge", roles),
            ("weight must be a number above 0", weights),
            ("labels that are no classes of the plan", unknown),
            ("classes without an image to train on", untrained),
        )
        if found
    ]
    if not any(row.role == "select" for row in examples):
        mistakes.append("no image has the role select, so nothing can say when to stop")
    return mistakes
