"""`make bench-serving`: what an answer costs, ours beside servers that do the same job, interleaved in one run."""

import argparse
import os
import random
import signal
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import FrameType

from infra.cores import usable_cores
from tests.benchmarks.serving_job import BACKBONE, CLASSES, IMAGE_SIZE, LARGE, SMALL, prepare
from tests.benchmarks.serving_load import Callers
from tests.benchmarks.serving_servers import LITSERVE, NAMES, Servers, litserve_python, version_in
from tests.benchmarks.serving_table import Trial, client_bound, rows
from tests.benchmarks.serving_trial import Plan, measured
from tests.benchmarks.table import environment, markdown, write

_WORK = Path(__file__).parents[2] / "build" / "bench-serving"
_TITLE, _COMMAND = "Serving beside other servers", "make bench-serving"
_RATES_PER_S = (50, 150)
_EXAMPLE = """examples:
  make bench-serving                                                   all of it, about twelve minutes
  python -m tests.benchmarks.serving --quick                           one short round, printed and not kept
  python -m tests.benchmarks.serving --quick --only ours reference     two servers only
"""
# Whose versions matter to these figures.
_LIBRARIES = ("bentoml", "onnxruntime", "pillow", "starlette", "uvicorn", "uvloop", "aiohttp")


def main() -> None:
    """Measure, then write the table; a short or partial run is only printed."""
    asked = _asked()
    _leave_nothing_behind()
    names = [name for name in NAMES if not asked.only or name in asked.only]
    print("making the network and the photos, once …", flush=True)
    job = prepare(_WORK)
    litserve = litserve_python(_WORK) if LITSERVE in names else None
    missing = LITSERVE in names and litserve is None
    names = [name for name in names if name != LITSERVE or litserve]
    load_before = os.getloadavg()[0]
    failures: list[str] = []
    with Callers(job) as callers:
        trials = list(_trials(asked, names, Servers(job, _WORK, litserve), callers, failures))
    notes = [*_notes(asked, trials, litserve_missing=missing), *failures]
    found = environment(_LIBRARIES, {"usable cores": str(usable_cores()), "load average before": f"{load_before:.1f}"})
    if litserve:
        found["litserve"] = version_in(litserve, "litserve")
    if asked.quick or asked.only:
        print(markdown(_TITLE, "a short or partial run, not kept", rows(trials), notes, found))
    else:
        write("serving", _TITLE, _COMMAND, rows(trials), notes, found)
    if failures:
        raise SystemExit("not everything could be measured; see above")


def _asked() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m tests.benchmarks.serving",
        description=__doc__,
        epilog=_EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--rounds", type=int, help="times that every server is started; 3, quick 1")
    parser.add_argument("--requests", type=int, help="small photos a load, a tenth as many large ones; 1500, quick 400")
    parser.add_argument("--quick", action="store_true", help="one short round")
    parser.add_argument("--only", nargs="+", choices=NAMES, metavar="NAME", help=f"of: {', '.join(NAMES)}")
    parser.add_argument("--workers", nargs="+", type=int, default=[1, 2], help="serving processes; 1 2")
    parser.add_argument("--seed", type=int, default=0, help="of the order in a round")
    asked = parser.parse_args()
    asked.rounds = asked.rounds or (1 if asked.quick else 3)
    asked.requests = asked.requests or (400 if asked.quick else 1500)
    return asked


def _trials(
    asked: argparse.Namespace, names: Sequence[str], servers: Servers, callers: Callers, failures: list[str]
) -> Iterator[Trial]:
    plan = Plan(asked.requests, _RATES_PER_S, 2.0 if asked.quick else 5.0)
    chance = random.Random(asked.seed)
    total, began = asked.rounds * len(asked.workers) * len(names), time.monotonic()
    done = 0
    for round_ in range(asked.rounds):
        for workers in asked.workers:
            # Shuffled anew, so that nobody always follows the same neighbour.
            for name in chance.sample(names, len(names)):
                done += 1
                try:
                    trial = measured(servers, callers, plan, name, workers, round_, _WORK / "server.log")
                except RuntimeError as problem:
                    print(f"[{done}/{total}] {name} could not be measured: {problem}", flush=True)
                    failures.append(f"{name} with {workers} could not be measured in round {round_ + 1}.")
                    continue
                left_s = (time.monotonic() - began) / done * (total - done)
                _tell(trial, f"[{done}/{total}]", left_s)
                yield trial


def _tell(trial: Trial, place: str, left_s: float) -> None:
    small, large = trial.phases["small"], trial.phases["large"]
    print(
        f"{place} round {trial.round + 1}, {trial.workers} worker{'s' * (trial.workers > 1)}, {trial.server}: "
        f"small {small.cpu_ms:.2f} CPU-ms, {small.requests_per_s:.0f}/s; large {large.cpu_ms:.1f} CPU-ms, "
        f"{large.requests_per_s:.0f}/s; about {left_s / 60:.0f} min left",
        flush=True,
    )
    for name, phase in trial.phases.items():
        if phase.failed:
            print(f"    {name}: {phase.failed} of {phase.requests} failed: {'; '.join(phase.mistakes)}", flush=True)


def _notes(asked: argparse.Namespace, trials: Sequence[Trial], *, litserve_missing: bool) -> list[str]:
    rates = " and ".join(map(str, _RATES_PER_S))
    notes = [
        "All do the same: a JPEG in, the same preprocessing, the same network, class probabilities out as JSON.",
        f"The network: {BACKBONE} at {IMAGE_SIZE} px, random weights, {len(CLASSES)} classes. Every answer is checked.",
        f"Small: {SMALL.width} × {SMALL.height} px, 2.5 kB. Large: {LARGE.width} × {LARGE.height} px, 375 kB.",
        "No two bodies are alike, so that nobody answers or hashes from memory.",
        f"Median of {asked.rounds} rounds, smallest–largest in parentheses; ratios are those within a round.",
        "In every round each server is started afresh, in shuffled order.",
        "Cost: user and system time of the server's whole process tree.",
        "Ours writes its log; the shipper that moves it to the tables does not run here.",
        f"{asked.requests} small photos, a tenth as many large ones, over 16 kept connections, without a pause.",
        f"At {rates}/s the moments of sending are random and drawn beforehand, and time counts from them.",
        "ours: under uvicorn, logging. unlogged: no statistics, no record.",
        "reference: Starlette and ONNX Runtime, with batches by hand.",
        "batchable: `@bentoml.api(batchable=True)`, its own logs and traces off.",
    ]
    bound = client_bound(trials)
    if bound:
        notes.append(f"Requests/s are the callers' limit, not the server's, of {', '.join(bound)}.")
    if litserve_missing:
        notes.append("LitServe could not be installed, so it has no column.")
    else:
        notes.append("LitServe comes with its own FastAPI; a worker is one process for the network and one for HTTP.")
    return notes


def _leave_nothing_behind() -> None:
    """The first Ctrl-C or SIGTERM unwinds, which stops every process; further ones do not disturb that."""

    def unwind(number: int, _: FrameType | None) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        raise SystemExit(128 + number)

    signal.signal(signal.SIGINT, unwind)
    signal.signal(signal.SIGTERM, unwind)


if __name__ == "__main__":
    main()
