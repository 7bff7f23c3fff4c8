"""The disk below the spool fills up and gets room again: answers go on, the unlogged are counted, nothing tears."""

import contextlib
import os
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from monitoring.prediction_log import PredictionLog
from tests.service.cards import Place, wait_for
from tests.service.survival.traffic import Traffic, configure, refusal, ship_once

pytestmark = [pytest.mark.slow, pytest.mark.survival]

LABEL = {"id": "somebody's", "label": "dark"}


@pytest.fixture
def small_disk(place: Place) -> Iterator[Path]:
    """Six megabytes of memory as the disk of the spool."""
    if os.geteuid() != 0:
        pytest.skip("only root may mount a file system of its own")
    place.spool.mkdir(parents=True)
    command = ["mount", "-t", "tmpfs", "-o", "size=6m", "tmpfs", place.spool]
    mounted = subprocess.run(command, check=False, capture_output=True)
    if mounted.returncode:
        pytest.skip(f"a small file system cannot be mounted here: {mounted.stderr.decode().strip()}")
    yield place.spool
    for process in place.running:
        process.kill()
        process.wait()
    subprocess.run(["umount", "-l", place.spool], check=True)


@pytest.mark.parametrize("least_free_mb", [1.0, 0.0], ids=["before the last megabyte", "at the last byte"])
def test_answers_go_on_while_the_disk_is_full_and_what_was_not_logged_is_counted(
    place: Place, small_disk: Path, least_free_mb: float
) -> None:
    configure(place, least_free_disk_mb=least_free_mb)
    place.champion()
    service = place.serve()
    with Traffic(place.url, callers=2, labels=False) as traffic:
        wait_for(lambda: len(traffic.answered) > 50, place.output)
        fill(small_disk / "filler")
        wait_for(lambda: not_logged(place) > 50, place.output)
        full = httpx.post(f"{place.url}/v1/feedback", json=LABEL)
        (small_disk / "filler").unlink()
        wait_for(lambda: httpx.post(f"{place.url}/v1/feedback", json=LABEL).status_code == 200, place.output)
        # Logging has begun again in every worker, once answers come and the count stands still.
        wait_for(lambda: all_are_logged(place, traffic), place.output)
    dropped = not_logged(place)
    service.terminate()
    service.wait(60)
    ship_once(place)

    predictions = PredictionLog(place.settings.storage).predictions.scan()
    assert predictions is not None
    found = Counter(predictions.select("id").collect()["id"].to_list())
    print(f"\n{traffic.summary()}; {len(found)} logged, {dropped} not logged")
    told = refusal(full)
    assert (told.status, told.code) == (503, "log_full")
    assert float(told.retry_after or 0) >= 1
    assert (traffic.wrong, traffic.refused, traffic.broken) == ([], [], [])
    assert set(found.values()) == {1}
    assert set(found) <= set(traffic.answered)
    assert len(found) == len(traffic.answered) - dropped
    assert not list(small_disk.glob("*/*.damaged"))


def fill(filler: Path) -> None:
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(4096))


def all_are_logged(place: Place, traffic: Traffic) -> bool:
    before, answered = not_logged(place), len(traffic.answered)
    wait_for(lambda: len(traffic.answered) > answered + 30, place.output)
    return not_logged(place) == before


def not_logged(place: Place) -> int:
    lines = httpx.get(f"{place.url}/metrics", timeout=30).text.splitlines()
    found = [line.split()[1] for line in lines if line.startswith("kedge_predictions_not_logged_total ")]
    return int(float(found[0])) if found else 0
