"""Two hundred callers where eight images may wait: some are answered, the others are told when to come back."""

import asyncio
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from PIL import Image

from service.client import Client
from tests.service.cards import Place
from tests.service.survival.traffic import Refused, configure, refusal

pytestmark = [pytest.mark.slow, pytest.mark.survival]

CALLERS, EACH = 200, 3


@pytest.mark.parametrize("runtime", ["bentoml", "uvicorn"])
def test_two_hundred_callers_beyond_capacity_get_an_answer_or_a_429_and_polite_ones_get_an_answer(
    place: Place, runtime: Any
) -> None:
    configure(place, queue_images=8, batch_images=4)
    place.champion()
    place.serve(runtime)
    photo = large_photo(place)

    answered, refused = asyncio.run(all_at_once(place.url, photo))
    with ThreadPoolExecutor(CALLERS) as callers:
        polite = list(callers.map(lambda _: politely(place.url, photo), range(CALLERS)))

    print(
        f"\n{answered} answered, refused {Counter((one.status, one.code) for one in refused)}; {len(polite)} politely"
    )
    assert answered + len(refused) == CALLERS * EACH
    # Neither may be empty, or the test did not reach capacity.
    assert min(answered, len(refused)) > 10
    assert {(one.status, one.code) for one in refused} == {(429, "queue_full")}
    assert all(float(one.retry_after or 0) >= 1 for one in refused)
    assert len(polite) == CALLERS


async def all_at_once(url: str, photo: bytes) -> tuple[int, list[Refused]]:
    """How many requests of two hundred impatient callers were answered, and how the others were refused."""
    answered, refused = 0, []
    limits = httpx.Limits(max_connections=CALLERS, max_keepalive_connections=CALLERS)
    async with httpx.AsyncClient(base_url=url, limits=limits, timeout=60) as http:

        async def caller() -> None:
            nonlocal answered
            for _ in range(EACH):
                response = await http.post("/v1/predict", content=photo)
                if response.status_code == 200:
                    answered += 1
                else:
                    refused.append(refusal(response))

        await asyncio.gather(*(caller() for _ in range(CALLERS)))
    return answered, refused


def politely(url: str, photo: bytes) -> str:
    with Client(url, timeout_s=60, patience_s=120) as client:
        return client.predict(photo).id


def large_photo(place: Place) -> bytes:
    """A picture whose decoding takes some ten milliseconds, so that callers do pile up."""
    noise = np.random.default_rng(0).integers(0, 256, (60, 80, 3), dtype=np.uint8)
    path = place.base / "photo.jpg"
    Image.fromarray(noise).resize((1600, 1200)).save(path, quality=80)
    return path.read_bytes()
