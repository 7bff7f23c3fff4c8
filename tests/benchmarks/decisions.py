"""`make bench-decisions`: what decisions come to, against known truth, beside other triggers, and when things die."""

import argparse
import importlib
import json
import os
from pathlib import Path
from typing import Any

from infra.cores import usable_cores
from tests.benchmarks.monitoring import markdown
from tests.benchmarks.monitoring_rows import Row, Section
from tests.benchmarks.table import RESULTS, environment

# In the order of the table; each is a module `decisions_<part>` with a function `section`.
PARTS = ("simulation", "gate", "rollout", "crashes", "meters")
_LIBRARIES = ("numpy", "torch", "polars", "prefect", "bentoml", "onnxruntime")
_DRAWN_ANEW, _QUICK_RUNS = ("gate", "rollout"), 40
_EXAMPLE = """examples:
  make bench-decisions ARGS="--data FOLDER"                       all of it; hours, and goes on where it was
  python -m tests.benchmarks.decisions --only simulation gate     two parts; the table keeps the others as they were
  python -m tests.benchmarks.decisions --quick                    few repetitions, printed and not kept
"""


def main() -> None:
    """Measure each part that was asked for, and write the table after each."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.decisions",
        description=__doc__,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--only", nargs="+", choices=PARTS, default=PARTS, help="these parts alone")
    parser.add_argument("--quick", action="store_true", help="few repetitions; printed, not kept")
    parser.add_argument("--data", type=Path, help="folder with meter_digits/ and weights/; `meters` needs it")
    asked = parser.parse_args()
    if asked.data:
        os.environ["KEDGE_BENCH_DATA"] = str(asked.data.resolve())
    for part in asked.only:
        print(f"{part} …", flush=True)
        found = section(part, quick=asked.quick)
        print(markdown(found), flush=True)
        if not asked.quick and found.rows:
            keep(part, found)


def section(part: str, *, quick: bool) -> Section:
    """One part, measured as far as it was not."""
    module = importlib.import_module(f"tests.benchmarks.decisions_{part}")
    # Their streams cost seconds or minutes, and are drawn anew each time.
    if part in _DRAWN_ANEW:
        found: Section = module.section(_QUICK_RUNS) if quick else module.section()
        return found
    other: Section = module.section(quick=quick)
    return other


def keep(part: str, found: Section, folder: Path = RESULTS) -> None:
    """Into the table beside the other parts, which stay as they were measured."""
    path = folder / "decisions.json"
    kept: dict[str, Any] = json.loads(path.read_text()) if path.is_file() else {}
    sections = {**kept.get("sections", {}), part: {"markdown": markdown(found), "rows": _rows(part, found.rows)}}
    ordered = {name: sections[name] for name in PARTS if name in sections}
    surroundings = environment(_LIBRARIES, {"usable cores": str(usable_cores())})
    rows = [row for one in ordered.values() for row in one["rows"]]
    folder.mkdir(exist_ok=True)
    written = {"environment": surroundings, "rows": rows, "sections": ordered}
    path.write_text(json.dumps(written, indent=1, ensure_ascii=False) + "\n")
    told = ", ".join(f"{key} {value}" for key, value in surroundings.items())
    texts = [one["markdown"] for one in ordered.values()]
    page = "\n".join(["# Decisions, against known truth and beside other triggers", "", "`make bench-decisions`", "",
                      *texts, told])  # fmt: skip
    path.with_suffix(".md").write_text(page + "\n")


def _rows(part: str, rows: tuple[Row, ...]) -> list[dict[str, Any]]:
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


if __name__ == "__main__":
    main()
