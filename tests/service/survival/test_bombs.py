"""Decompression bombs and their kin: refused from the outside, before they cost what they promise."""

import time

import httpx
import pytest

from tests.service.cards import Place, workers_of
from tests.service.survival.bombs import Bomb, image_bombs, text_bombs
from tests.service.survival.traffic import Traffic, forget_peak, peak_mb, refusal, resident_mb

pytestmark = pytest.mark.slow

# The largest body of these tests is 2 MB, an ordinary image of 16 MP would take 50 MB: nothing here is worth more.
MOST_GROWTH_MB = 150


@pytest.mark.parametrize("bombs", [image_bombs, text_bombs])
def test_a_bomb_is_refused_without_the_memory_that_it_asks_for(place: Place, bombs) -> None:
    place.champion()
    supervisor = place.serve()
    workers = workers_of(supervisor.pid)
    with httpx.Client(base_url=place.url, timeout=60) as http:
        http.post("/v1/predict", content=b"warm up")
        before = {pid: resident_mb(pid) for pid in workers}
        for pid in workers:
            forget_peak(pid)
        with Traffic(place.url, callers=1, labels=False) as neighbour:
            for bomb in bombs():
                told = thrown(http, bomb)
                growth = max(peak_mb(pid) - before[pid] for pid in workers)
                print(f"\n{bomb.name}: {len(bomb.body):,} bytes, {told}, peak + {growth:.0f} MB", end="")
                assert growth < MOST_GROWTH_MB, bomb.name

    assert sorted(workers_of(supervisor.pid)) == sorted(workers)
    assert (neighbour.wrong, neighbour.refused, neighbour.broken) == ([], [], [])


def thrown(http: httpx.Client, bomb: Bomb) -> str:
    begun = time.perf_counter()
    try:
        response = http.post(bomb.path, content=bomb.body, headers={"Content-Type": bomb.kind})
    except httpx.WriteError:
        # The refusal came while we still sent, and was lost with the connection.
        assert 413 in bomb.statuses, bomb.name
        return "cut off"
    assert response.status_code in bomb.statuses, f"{bomb.name}: {response.status_code} {response.text[:200]}"
    assert response.is_success or refusal(response).code != "not ours", bomb.name
    return f"{response.status_code} after {time.perf_counter() - begun:.2f} s"
