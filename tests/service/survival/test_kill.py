"""Every serving process is killed, again and again and in the middle of its work, and no answer is lost."""

import os
import random
import signal
import time

import psutil
import pytest

from service import commands
from tests.service.cards import Place, wait_for, workers_of
from tests.service.survival.traffic import Traffic, check_the_books

pytestmark = [pytest.mark.slow, pytest.mark.survival]


@pytest.mark.parametrize(("runtime", "kills"), [("bentoml", 20), ("uvicorn", 5)])
def test_all_workers_are_killed_again_and_again_under_load_and_no_answer_is_lost_or_kept_twice(
    place: Place, runtime: str, kills: int
) -> None:
    chance = random.Random(kills)
    place.champion()
    supervisor = place.serve(runtime)
    place.start(commands.shipper(place.settings))
    killed = 0
    with Traffic(place.url) as traffic:
        for _ in range(kills):
            # At any moment: in a batch, in a write, while a segment is sealed, or while the second one still starts.
            wait_for_answers(place, traffic, more=chance.choice([1, 20, 60]))
            time.sleep(chance.uniform(0, 0.5))
            workers = workers_of(supervisor.pid)
            for pid in workers:
                os.kill(pid, signal.SIGKILL)
            killed += len(workers)
        wait_for_answers(place, traffic, more=1)
    for process in place.running:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()
    # A killed worker holds its slot until it is quite gone.
    wait_for(lambda: not members(supervisor.pid))

    print(f"\n{killed} workers killed in {kills} rounds")
    assert killed >= kills
    check_the_books(place, traffic)


def members(group: int) -> list[int]:
    """The processes of a group that still run."""
    return [
        process.pid
        for process in psutil.process_iter(["status"])
        if process.info["status"] != psutil.STATUS_ZOMBIE and _group(process.pid) == group
    ]


def _group(pid: int) -> int:
    try:
        return os.getpgid(pid)
    except ProcessLookupError:
        return 0


def wait_for_answers(place: Place, traffic: Traffic, more: int) -> None:
    before = len(traffic.answered)
    wait_for(lambda: len(traffic.answered) >= before + more, place.output, 90)
