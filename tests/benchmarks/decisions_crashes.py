"""
Part `crashes`: every process of the loop killed (SIGKILL) in every phase of a retrain, under a real `kedge up`.

What is measured: how the job ended, seconds until it went on, epochs trained twice, versions and promotions; and how
long it takes from the event to the trainer's start, and from the wish to cancel to a free processor.
"""

import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from flows.jobs.cancel import cancel_job
from infra.jobs import Job, open_jobs
from tests.benchmarks.decisions_crash_stage import (
    FLOW,
    PHASES,
    QUEUED,
    RUNNER,
    SERVER,
    SERVICE,
    TRAINER,
    VICTIMS,
    Stage,
    kill,
    stage,
    until,
)
from tests.benchmarks.monitoring_rows import Row, Section
from tests.benchmarks.results import Measured
from tests.flows.jobs.small_projects import epochs_told, little, trained_again

_WORK = Path(__file__).parents[2] / "build" / "bench-decisions"
_EVENTS, _QUICK_EVENTS, _BURST = 20, 3, 5
_MOST_START_S, _MOST_CANCEL_S = 10.0, 10.0
_EVERY_S = 20.0
# A trainer lives in these phases only, a job's flow in all but the first.
_WITH_TRAINER = ("training", "judging")
_QUICK = ((FLOW, "training"), (TRAINER, "training"), (RUNNER, "judging"))


def section(*, quick: bool) -> Section:
    """Every cell once; what was measured before is not measured again."""
    measured = Measured(_WORK / "crashes.jsonl", ("what", "victim", "phase", "number"))
    measure(measured, quick=quick)
    return Section("Killed in every phase", _words(measured.rows()), tuple(_rows(measured.rows())))


def measure(measured: Measured, *, quick: bool) -> None:
    """Fill what is missing, one `kedge up` for all of it."""
    cells = [cell for cell in (_QUICK if quick else _cells()) if _key(*cell) not in measured]
    events = [number for number in range(_QUICK_EVENTS if quick else _EVENTS) if _event(number) not in measured]
    others = [what for what in _OTHERS if {"what": what} not in measured]
    if not cells and not events and not others:
        return
    with stage(_WORK / "crashes", _EVERY_S) as here:
        for victim, phase in cells:
            measured.add({**_key(victim, phase), **crash(here, victim, phase)})
            print(measured.rows()[-1], file=sys.stderr, flush=True)
        for what in others:
            measured.add({"what": what, **_OTHERS[what](here)})
        for number in events:
            measured.add({**_event(number), **_started_and_cancelled(here)})


def crash(here: Stage, victim: str, phase: str) -> dict[str, Any]:
    """One retrain, in which `victim` is killed as soon as `phase` is reached."""
    job = here.ask_in_quiet()
    until(lambda: here.reached(job, phase) and here.victim(job, victim) is not None)
    process, before = here.victim(job, victim), here.now(job)
    epochs = len(epochs_told(here.folder, job.id))
    assert process is not None
    kill(process)
    gone_on_s = until(lambda: _gone_on(here, job, before, victim))
    back_s = until(lambda: victim != SERVICE or (here.is_well("service") and here.answers()))
    until(lambda: not here.now(job).is_open, every_s=0.2)
    ended, (lost, lost_s) = here.now(job), trained_again(epochs_told(here.folder, job.id))
    return {
        "state": ended.state,
        "state_at_the_kill": before.state,
        "error": ended.error,
        "attempts": ended.attempts,
        "gone_on_s": gone_on_s + back_s,
        "epochs_before": epochs,
        "epochs_lost": lost,
        "seconds_lost": lost_s,
        "versions": here.made(job),
        "promotions": here.promotions(job),
        "orphans": _orphans(here, job),
    }


def _gone_on(here: Stage, job: Job, before: Job, victim: str) -> bool:
    """Whether the work that the kill broke off, if it did, is under way again."""
    at = here.now(job)
    if not at.is_open:
        return True
    if before.state == "queued":
        return at.state == "running"
    if victim in (FLOW, RUNNER):
        return at.state == "running" and at.claim != before.claim
    if victim == TRAINER:
        return (at.attempts or 0) > (before.attempts or 0)
    return at.claim == before.claim


def _orphans(here: Stage, job: Job) -> int:
    """Processes that still work in the job's folder after its end."""
    import psutil

    folder = str(here.place.settings.storage.home / "runs" / job.id)
    lines = (each.info["cmdline"] or [] for each in psutil.process_iter(["cmdline"]))
    return sum(folder in line for line in lines)


def _started_and_cancelled(here: Stage) -> dict[str, Any]:
    """Seconds from the event to the trainer's start, and from the wish to cancel until nothing of it runs."""
    until(lambda: not open_jobs(here.place.engine), every_s=0.2)
    began = time.time()
    job = here.ask()
    until(lambda: here.victim(job, TRAINER) is not None)
    trainer = here.victim(job, TRAINER)
    flow = here.victim(job, FLOW)
    assert trainer is not None
    assert flow is not None
    started_s, spent = trainer.create_time() - began, flow.cpu_times()
    asked = time.monotonic()
    cancel_job(here.place, here.now(job), "the benchmark", within_s=60.0)
    until(lambda: not trainer.is_running())
    cancelled_s = time.monotonic() - asked
    cpu_s = spent.user + spent.system
    return {"started_s": started_s, "cpu_s": cpu_s, "cancelled_s": cancelled_s, "state": here.now(job).state}


def _burst(here: Stage) -> dict[str, Any]:
    """Five events one after the other."""
    jobs = {here.ask().id for _ in range(_BURST)}
    job = here.ask()
    until(lambda: not here.now(job).is_open, every_s=0.2)
    return {"jobs": len(jobs), "versions": here.made(job), "promotions": here.promotions(job)}


def _while_server_is_down(here: Stage) -> dict[str, Any]:
    """An event that nobody hears: the server was killed the moment before."""
    server = here.victim(here.ask(call=False), SERVER)
    assert server is not None
    kill(server)
    job = here.ask()
    back_s = until(lambda: here.pid("prefect") not in (0, server.pid) and here.is_well("prefect"))
    claimed_s = until(lambda: here.now(job).state != "queued")
    until(lambda: not here.now(job).is_open, every_s=0.2)
    return {"server_back_s": back_s, "claimed_s": claimed_s, "state": here.now(job).state, "versions": here.made(job)}


def _cancelled_in_prefect(here: Stage) -> dict[str, Any]:
    """A run that is cancelled in Prefect's pages."""
    job = here.ask_in_quiet()
    until(lambda: here.reached(job, "training") and here.victim(job, TRAINER) is not None)
    trainer = here.victim(job, TRAINER)
    assert trainer is not None
    here.cancel_in_prefect(job)
    free_s = until(lambda: not trainer.is_running())
    until(lambda: not here.now(job).is_open)
    return {"free_s": free_s, "state": here.now(job).state, "orphans": _orphans(here, job)}


_OTHERS = {"cancelled in Prefect": _cancelled_in_prefect, "burst": _burst, "server down": _while_server_is_down}


def _cells() -> list[tuple[str, str]]:
    """Victim and phase, the phases in which the victim lives."""
    return [
        (victim, phase)
        for phase in PHASES
        for victim in VICTIMS
        if (victim != TRAINER or phase in _WITH_TRAINER) and (victim != FLOW or phase != QUEUED)
    ]


def _key(victim: str, phase: str) -> dict[str, Any]:
    return {"what": "killed", "victim": victim, "phase": phase}


def _event(number: int) -> dict[str, Any]:
    return {"what": "event", "number": number}


def _words(found: list[dict[str, Any]]) -> tuple[str, ...]:
    killed = sum(row["what"] == "killed" for row in found)
    words = f"A small project under `kedge up` (a look every {_EVERY_S:g} s): {killed} retrains, in each of which one "
    words += "process was killed with SIGKILL in one phase. Seconds are of this machine, whose cores others used, too."
    return (words,)


def _rows(found: list[dict[str, Any]]) -> list[Row]:
    rows = [_crash_row(row) for row in found if row["what"] == "killed"]
    events = [row for row in found if row["what"] == "event"]
    if events:
        rows += [
            _most(events, "started_s", "from the event to the trainer's start", _MOST_START_S),
            Row(
                "of that, the run's own process until it starts the trainer, median",
                "CPU-s",
                round(float(np.median([row["cpu_s"] for row in events])), 1),
            ),
            _most(events, "cancelled_s", "from the wish to cancel until nothing runs", _MOST_CANCEL_S),
        ]
    return rows + [_other(row) for row in found if row["what"] in _OTHERS]


def _crash_row(row: Mapping[str, Any]) -> Row:
    once = row["versions"] == 1 and row["promotions"] == 1 and row["state"] == "done"
    well = once and little(row["epochs_lost"], row["seconds_lost"]) and row["orphans"] == 0
    why = "" if well else f"{row['state']}: {row['error'] or ''}".strip(": ")
    what = (
        f"{row['victim']} killed while {row['phase']}: {row['state']}, "
        f"{row['epochs_lost']} epochs lost ({row['seconds_lost']:.1f} s), "
        f"{row['versions']} version, {row['promotions']} promotion"
    )
    return Row(
        what, "s to go on", round(row["gone_on_s"], 1), {}, "one version, one promotion, ≤ 1 epoch or second", well, why
    )


def _most(events: list[dict[str, Any]], name: str, what: str, most_s: float) -> Row:
    seconds = float(np.percentile([row[name] for row in events], 95))
    slower = sum(row[name] > most_s for row in events)
    why = "" if seconds <= most_s else f"{slower} of {len(events)} took longer"
    return Row(f"{what}, p95 of {len(events)}", "s", round(seconds, 1), {}, f"≤ {most_s:g}", seconds <= most_s, why)


def _other(row: Mapping[str, Any]) -> Row:
    if row["what"] == "burst":
        once = row["jobs"] == 1 and row["versions"] == 1
        return Row(f"{_BURST} events within the cool-down", "retrains", row["jobs"], {}, "1", once)
    if row["what"] == "cancelled in Prefect":
        well = row["free_s"] <= _MOST_CANCEL_S and row["state"] == "cancelled" and not row["orphans"]
        what = "from cancelling the run in Prefect until the trainer is gone"
        return Row(what, "s", round(row["free_s"], 1), {}, f"≤ {_MOST_CANCEL_S:g}", well)
    what = f"an event while the server is down (for {row['server_back_s']:.0f} s), from its return to the job's start"
    started_s = round(row["claimed_s"], 1)
    within_s = _EVERY_S + _MOST_START_S
    well = started_s <= within_s and row["state"] == "done" and row["versions"] == 1
    return Row(what, "s", started_s, {}, f"≤ {within_s:g}: one watch interval, and a start", well)


if __name__ == "__main__":
    only = section(quick="--quick" in sys.argv)
    for line in only.rows:
        print(line)
