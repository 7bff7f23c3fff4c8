"""A benchmark in parts: which are asked for, and one table that keeps each part as it was last measured."""

import argparse
import json
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

from infra.cores import usable_cores
from tests.benchmarks.monitoring_rows import Row, Section
from tests.benchmarks.table import RESULTS, environment


@dataclass(frozen=True)
class Bench:
    """
    A benchmark of several parts.

    Attributes:
        name: Its module, its `make bench-…` and its files' name.
        title: Of the written table.
        parts: In the order of the table; each is a module `<name>_<part>` with a function `section`.
        libraries: Whose versions are written beside the figures.
    """

    name: str
    title: str
    parts: tuple[str, ...]
    libraries: tuple[str, ...]


def asked(bench: Bench, words: str | None, examples: str, data_help: str) -> argparse.Namespace:
    """What the command line asks for; where the data lie goes into the environment, for every part to read."""
    parser = argparse.ArgumentParser(
        prog=f"python -m tests.benchmarks.{bench.name}",
        description=words,
        epilog=examples,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", nargs="+", choices=bench.parts, default=bench.parts, help="these parts alone")
    parser.add_argument("--quick", action="store_true", help="few repetitions; printed, not kept")
    parser.add_argument("--data", type=Path, help=data_help)
    found = parser.parse_args()
    if found.data:
        os.environ["KEDGE_BENCH_DATA"] = str(found.data.resolve())
    return found


def keep(bench: Bench, part: str, section: Section, folder: Path = RESULTS) -> None:
    """Into the table beside the other parts, which stay as they were measured."""
    path = folder / f"{bench.name}.json"
    kept: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    sections = {**kept.get("sections", {}), part: {"markdown": markdown(section), "rows": _rows(part, section.rows)}}
    ordered = {name: sections[name] for name in bench.parts if name in sections}
    surroundings = environment(bench.libraries, {"usable cores": str(usable_cores())})
    rows = [row for one in ordered.values() for row in one["rows"]]
    folder.mkdir(exist_ok=True)
    written = {"environment": surroundings, "rows": rows, "sections": ordered}
    path.write_text(json.dumps(written, indent=1, ensure_ascii=False) + "\n")
    told = ", ".join(f"{key} {value}" for key, value in surroundings.items())
    texts = [one["markdown"] for one in ordered.values()]
    page = "\n".join([f"# {bench.title}", "", f"`make bench-{bench.name}`", "", *texts, told])
    path.with_suffix(".md").write_text(page + "\n")


def markdown(section: Section) -> str:
    """One part as people read it: a table for each company of rivals."""
    lines = [f"## {section.title}", ""]
    for sentence in section.words:
        lines += [sentence, ""]
    for rivals, rows in groupby(section.rows, key=lambda row: tuple(row.others)):
        lines += [*_table(rivals, list(rows)), ""]
    return "\n".join(lines)


def _table(rivals: Sequence[str], rows: Sequence[Row]) -> Iterator[str]:
    with_goals = any(row.goal for row in rows)
    heads = ["", "ours", *rivals, *(["goal", "met"] if with_goals else [])]
    yield f"| {' | '.join(heads)} |"
    yield f"|---|{'---|' * (len(heads) - 1)}"
    for row in rows:
        cells = [f"{row.what}, {row.unit}" if row.unit else row.what, _text(row.ours)]
        cells += [_text(row.others[name]) for name in rivals]
        cells += [row.goal, _met(row)] if with_goals else []
        yield f"| {' | '.join(cells)} |"


def _rows(part: str, rows: Sequence[Row]) -> list[dict[str, Any]]:
    return [
        {
            "part": part,
            "what": row.what,
            "unit": row.unit,
            "ours": row.ours,
            "others": dict(row.others),
            "goal": row.goal,
            "met": row.met,
            **({"reason": row.why} if row.why else {}),
        }
        for row in rows
    ]


def _text(value: float | None) -> str:
    return "—" if value is None else f"{value:.3g}" if abs(value) < 1_000 else f"{value:,.0f}"


def _met(row: Row) -> str:
    return {None: "", True: "yes", False: f"**not met**: {row.why}"}[row.met]
