"""The tables of benchmarks: a file for people, and the same for machines."""

import json
import os
import platform
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from statistics import median
from typing import Any

RESULTS = Path(__file__).parent / "results"


@dataclass(frozen=True)
class Figure:
    """The middle of several measurements, and how far they lie apart."""

    values: tuple[float, ...]

    @property
    def middle(self) -> float:
        return median(self.values)

    def text(self, form: str = ".3g") -> str:
        low, high = min(self.values), max(self.values)
        spread = f" ({low:{form}}–{high:{form}})" if len(self.values) > 1 else ""
        return f"{self.middle:{form}}{spread}"


@dataclass(frozen=True)
class Row:
    """
    One line of a table.

    Attributes:
        ours: None = could not be measured.
        goal: in words, as the design has it; empty = none, for comparison only.
        met: None where there is no goal.
        reason: in a sentence, why a goal is not met.
        form: how the figures are written.
    """

    what: str
    unit: str
    ours: Figure | None
    others: Mapping[str, Figure] = field(default_factory=dict)
    goal: str = ""
    met: bool | None = None
    reason: str = ""
    form: str = ".3g"

    def __post_init__(self) -> None:
        if self.met is False and not self.reason:
            raise ValueError(f"{self.what}: a goal that is not met needs its reason in a sentence")


def write(
    name: str,
    title: str,
    command: str,
    rows: Sequence[Row],
    notes: Sequence[str],
    surroundings: Mapping[str, str] | None = None,
) -> None:
    """Write results/NAME.md and results/NAME.json; surroundings: by default those of training."""
    RESULTS.mkdir(exist_ok=True)
    surroundings = surroundings or environment()
    (RESULTS / f"{name}.md").write_text(markdown(title, command, rows, notes, surroundings))
    value = {"environment": surroundings, "rows": [_to_json(row) for row in rows]}
    (RESULTS / f"{name}.json").write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n")


def markdown(
    title: str, command: str, rows: Sequence[Row], notes: Sequence[str], surroundings: Mapping[str, str]
) -> str:
    """The table for people; medians, with the smallest and largest of several in parentheses."""
    names = sorted({name for row in rows for name in row.others}, key=[n for r in rows for n in r.others].index)
    heads = ["", "ours", *names, "goal", "met"]
    lines = [f"| {' | '.join(heads)} |", f"|---|{'---|' * (len(heads) - 1)}"]
    for row in rows:
        cells = [
            f"{row.what}, {row.unit}" if row.unit else row.what,
            row.ours.text(row.form) if row.ours else "—",
            *(row.others[name].text(row.form) if name in row.others else "" for name in names),
            row.goal,
            {None: "", True: "yes", False: f"**not met**: {row.reason}"}[row.met],
        ]
        lines.append(f"| {' | '.join(cells)} |")
    told = [*(f"- {note}" for note in notes), "", ", ".join(f"{key} {value}" for key, value in surroundings.items())]
    return "\n".join([f"# {title}", "", f"`{command}`", "", *lines, "", *told]) + "\n"


def _to_json(row: Row) -> dict[str, Any]:
    value: dict[str, Any] = {
        "what": row.what,
        "unit": row.unit,
        "ours": row.ours.middle if row.ours else None,
        "others": {name: figure.middle for name, figure in row.others.items()},
        "goal": row.goal,
        "met": row.met,
        "measured": {
            **({"ours": list(row.ours.values)} if row.ours else {}),
            **{name: list(figure.values) for name, figure in row.others.items()},
        },
    }
    return {**value, "reason": row.reason} if row.reason else value


def environment(
    libraries: Sequence[str] = ("torch", "timm"), further: Mapping[str, str] | None = None
) -> dict[str, str]:
    """Where it was measured; libraries: whose versions matter; further: what else does."""
    found = {"python": platform.python_version(), "cores": str(os.cpu_count()), "machine": platform.machine()}
    found |= further or {}
    for library in libraries:
        try:
            found[library] = metadata.version(library)
        except metadata.PackageNotFoundError:
            continue
    return found
