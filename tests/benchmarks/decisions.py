"""`make bench-decisions`: what decisions come to, against known truth, beside other triggers, and when things die."""

import importlib

from tests.benchmarks.monitoring_rows import Section
from tests.benchmarks.parts import Bench, asked, keep, markdown

DECISIONS = Bench(
    name="decisions",
    title="Decisions, against known truth and beside other triggers",
    parts=("simulation", "gate", "rollout", "crashes", "meters"),
    libraries=("numpy", "torch", "polars", "prefect", "bentoml", "onnxruntime"),
)
_DRAWN_ANEW, _QUICK_RUNS = ("gate", "rollout"), 40
_EXAMPLE = """examples:
  make bench-decisions ARGS="--data FOLDER"                       all of it; hours, and goes on where it was
  python -m tests.benchmarks.decisions --only simulation gate     two parts; the table keeps the others as they were
  python -m tests.benchmarks.decisions --quick                    few repetitions, printed and not kept
"""


def main() -> None:
    """Measure each part that was asked for, and write the table after each."""
    wanted = asked(DECISIONS, __doc__, _EXAMPLE, "folder with meter_digits/ and weights/; `meters` needs it")
    for part in wanted.only:
        print(f"{part} …", flush=True)
        found = section(part, quick=wanted.quick)
        print(markdown(found), flush=True)
        if not wanted.quick and found.rows:
            keep(DECISIONS, part, found)


def section(part: str, *, quick: bool) -> Section:
    """One part, measured as far as it was not."""
    module = importlib.import_module(f"tests.benchmarks.decisions_{part}")
    # Their streams cost seconds or minutes, and are drawn anew each time.
    if part in _DRAWN_ANEW:
        found: Section = module.section(_QUICK_RUNS) if quick else module.section()
        return found
    other: Section = module.section(quick=quick)
    return other


if __name__ == "__main__":
    main()
