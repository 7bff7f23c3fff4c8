"""`python -m models.training --run-dir DIR`: train, or go on training, what the directory's plan says."""

import argparse
import signal
import sys
from pathlib import Path
from types import FrameType

from infra.errors import UserError
from models.training.hub import stay_offline_without_network
from models.training.plan import read_plan


def main() -> int:
    """Exit code 0 when done, 1 for a UserError, 130 or 143 when stopped by Ctrl-C or SIGTERM."""
    parser = argparse.ArgumentParser(prog="python -m models.training", description=__doc__)
    parser.add_argument("--run-dir", type=Path, required=True, help="the run directory, with plan.json in it")
    run_dir: Path = parser.parse_args().run_dir
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    try:
        stay_offline_without_network(read_plan(run_dir))
        # Imported after the line above, which must come before timm reads the environment.
        from models.training.loop import train

        report = train(run_dir)
    except UserError as problem:
        print(problem, file=sys.stderr)  # noqa: T201 - the command's own words
        return 1
    except _Stopped as stopped:
        print(  # noqa: T201
            f"training stopped by {stopped.name}; the same command goes on from the last checkpoint",
            file=sys.stderr,
        )
        return 128 + stopped.number
    print(  # noqa: T201
        f"trained {len(report.stages)} stages in {report.seconds:.0f} s; "
        f"macro recall on select {report.select_macro_recall:.4f}"
    )
    return 0


class _Stopped(BaseException):
    def __init__(self, number: int) -> None:
        super().__init__(number)
        self.number = number
        self.name = signal.Signals(number).name


def _stop(number: int, frame: FrameType | None) -> None:
    # A second signal must not interrupt the farewell.
    signal.signal(number, signal.SIG_IGN)
    raise _Stopped(number)


if __name__ == "__main__":
    sys.exit(main())
