"""Ten thousand damaged images, each among good ones: nothing breaks, and no neighbour pays for it."""

import itertools
import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import httpx
import pytest

from tests.service.cards import Place, workers_of
from tests.service.survival.mutants import mutants, whole_images
from tests.service.survival.traffic import (
    Card,
    Traffic,
    cards,
    check_the_books,
    configure,
    forget_peak,
    peak_mb,
    resident_mb,
)

pytestmark = [pytest.mark.slow, pytest.mark.survival]

MUTANTS, PER_REQUEST, CALLERS = 10_000, 40, 4
REFUSALS = {"not_an_image", "truncated_image", "unsupported_format", "too_many_pixels"}


def test_ten_thousand_mutated_images_harm_no_neighbour_and_cost_no_worker(place: Place) -> None:
    # Storing thousands of files would take longer than breaking them.
    configure(place, keep_images="false")
    place.champion()
    supervisor = place.serve()
    workers = sorted(workers_of(supervisor.pid))
    all_mutants = mutants(MUTANTS, seed=10_000)
    forms = [list(itertools.islice(all_mutants, PER_REQUEST)) for _ in range(MUTANTS // PER_REQUEST)]
    outcomes: Counter[str] = Counter()

    with Traffic(place.url, callers=1) as neighbours, ThreadPoolExecutor(CALLERS) as callers:
        warm = len(forms) // 10
        sent = callers.map(lambda number: form_outcomes(place.url, forms[number], number), range(len(forms)))
        for counted in itertools.islice(sent, warm):
            outcomes += counted
        before = [resident_mb(pid) for pid in workers]
        for pid in workers:
            forget_peak(pid)
        for counted in sent:
            outcomes += counted
        growth = [resident_mb(pid) - mb for pid, mb in zip(workers, before, strict=True)]
        peaks = [peak_mb(pid) for pid in workers]

    print(f"\n{dict(outcomes)}; grown by {growth} MB, peaks {peaks} MB; meanwhile {neighbours.summary()}")
    assert outcomes.total() == MUTANTS
    assert set(outcomes) - {"answered"} <= REFUSALS
    # A test of refusals only would not reach the decoders, and one of answers only would break nothing.
    assert min(outcomes["answered"], outcomes["truncated_image"], outcomes["not_an_image"]) > MUTANTS // 100
    assert sorted(workers_of(supervisor.pid)) == workers
    assert max(growth) < 100
    assert (neighbours.wrong, neighbours.refused, neighbours.broken) == ([], [], [])
    supervisor.terminate()
    supervisor.wait(60)
    check_the_books(place, neighbours)


def test_the_images_that_are_damaged_are_good_to_begin_with(place: Place) -> None:
    place.champion()
    place.serve("uvicorn")

    files = [("image", data) for data in whole_images()]
    answer = httpx.post(f"{place.url}/v1/predict", files=files, timeout=30).json()

    assert [one.get("error") for one in answer["predictions"]] == [None] * len(files)


def form_outcomes(url: str, damaged: list[bytes], seed: int) -> Counter[str]:
    """Send damaged images among good ones in one form; the good ones must be right, the others are counted."""
    chance = random.Random(seed)
    parts: list[Card | bytes] = [*damaged, *chance.sample(cards(), 4)]
    chance.shuffle(parts)
    files = [("image", part.data if isinstance(part, Card) else part) for part in parts]
    response = httpx.post(f"{url}/v1/predict", files=files, timeout=60)
    assert response.status_code == 200, response.text
    outcomes: Counter[str] = Counter()
    for part, told in zip(parts, response.json()["predictions"], strict=True):
        if isinstance(part, Card):
            assert told["label"] == part.label
        else:
            outcomes[told["error"]["code"] if "error" in told else "answered"] += 1
    return outcomes
