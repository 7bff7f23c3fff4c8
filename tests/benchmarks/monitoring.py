"""`make bench-monitoring`: what the watch finds, misses and costs, beside the rules and libraries that people use."""

import argparse
import importlib
import json
import os
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from infra.cores import usable_cores
from tests.benchmarks.monitoring_rows import Row, Section
from tests.benchmarks.table import RESULTS, environment

# In the order of the table; each is a module `monitoring_<part>` with a function `section(quick)`.
PARTS = ("shift", "evidence", "estimates", "bias", "speed", "meters")
_LIBRARIES = ("numpy", "scipy", "scikit-learn", "polars", "evidently", "river")
_EXAMPLE = """examples:
  make bench-monitoring                                         all of it; hours of one core, and goes on where it was
  python -m tests.benchmarks.monitoring --only bias evidence    two parts; the table keeps the others as they were
  python -m tests.benchmarks.monitoring --quick                 few repetitions, printed and not kept
"""


def main() -> None:
    """Measure each part that was asked for, and write the table after each."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.monitoring",
        description=__doc__,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="these parts alone")
    parser.add_argument("--quick", action="store_true", help="few repetitions; printed, not kept")
    parser.add_argument("--data", type=Path, help="folder with meter_digits/; parts that need it are left out without")
    asked = parser.parse_args()
    if asked.data:
        os.environ["KEDGE_BENCH_DATA"] = str(asked.data.resolve())
    for part in asked.only:
        print(f"{part} …", flush=True)
        section = importlib.import_module(f"tests.benchmarks.monitoring_{part}").section(quick=asked.quick)
        print(markdown(section), flush=True)
        if not asked.quick:
            _keep(part, section)


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


def _keep(part: str, section: Section) -> None:
    """Into the table beside the other parts, which stay as they were measured."""
    path = RESULTS / "monitoring.json"
    kept: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    sections = {**kept.get("sections", {}), part: {"markdown": markdown(section), "rows": _rows(part, section.rows)}}
    ordered = {name: sections[name] for name in PARTS if name in sections}
    surroundings = environment(_LIBRARIES, {"usable cores": str(usable_cores())})
    rows = [row for one in ordered.values() for row in one["rows"]]
    RESULTS.mkdir(exist_ok=True)
    path.write_text(
        json.dumps({"environment": surroundings, "rows": rows, "sections": ordered}, indent=1, ensure_ascii=False)
        + "\n"
    )
    told = ", ".join(f"{key} {value}" for key, value in surroundings.items())
    texts = [one["markdown"] for one in ordered.values()]
    page = "\n".join(["# Monitoring beside what people use", "", "`make bench-monitoring`", "", *texts, told])
    path.with_suffix(".md").write_text(page + "\n")


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


if __name__ == "__main__":
    main()
