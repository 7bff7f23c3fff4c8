"""`make bench-monitoring`: what the watch finds, misses and costs, beside the rules and libraries that people use."""

import importlib

from tests.benchmarks.parts import Bench, asked, keep, markdown

MONITORING = Bench(
    name="monitoring",
    title="Monitoring beside what people use",
    parts=("shift", "evidence", "estimates", "bias", "speed", "meters"),
    libraries=("numpy", "scipy", "scikit-learn", "polars", "evidently", "river"),
)
_EXAMPLE = """examples:
  make bench-monitoring                                         all of it; hours of one core, and goes on where it was
  python -m tests.benchmarks.monitoring --only bias evidence    two parts; the table keeps the others as they were
  python -m tests.benchmarks.monitoring --quick                 few repetitions, printed and not kept
"""


def main() -> None:
    """Measure each part that was asked for, and write the table after each."""
    wanted = asked(MONITORING, __doc__, _EXAMPLE, "folder with meter_digits/; parts that need it are left out without")
    for part in wanted.only:
        print(f"{part} …", flush=True)
        section = importlib.import_module(f"tests.benchmarks.monitoring_{part}").section(quick=wanted.quick)
        print(markdown(section), flush=True)
        if not wanted.quick:
            keep(MONITORING, part, section)


if __name__ == "__main__":
    main()
