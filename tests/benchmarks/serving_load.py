"""
The callers, in a process of their own: `python -m tests.benchmarks.serving_load JOB`.

Reads one load a line from its standard input and answers each with what it met.
"""

import asyncio
import itertools
import json
import random
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Self

import aiohttp
import uvloop

from tests.benchmarks.serving_job import KINDS, Photo, photos_of

_PATIENCE_S = 60.0
_BOUNDARY = "photo-of-a-benchmark"


@dataclass(frozen=True)
class Load:
    """
    What to send.

    Attributes:
        field: of a form that carries the image; empty = the body is the image.
        kind: of the photos.
        rate_per_s: at moments drawn beforehand, whatever the answers do; 0 = as soon as a connection is free.
        connections: at most so many at once where there is no rate; with one they are as many as it takes.
    """

    url: str
    field: str
    kind: str
    requests: int
    rate_per_s: float = 0.0
    connections: int = 16
    seed: int = 0


@dataclass(frozen=True)
class Met:
    """
    What came back.

    Attributes:
        took_ms: of every request, from the moment it should have been sent.
        wall_s: from the first request to the last answer.
        client_cpu_s: of these callers.
        answered: with status 200, be the label right or wrong.
        failed: no 200, or not the right label.
        mistakes: of those, the first few in words.
    """

    took_ms: tuple[float, ...]
    wall_s: float
    client_cpu_s: float
    answered: int
    failed: int
    mistakes: tuple[str, ...]


class Callers:
    """The process with the callers; a context, and nothing is left of it afterwards."""

    def __init__(self, job: Path) -> None:
        argv = [sys.executable, "-m", __spec__.name, str(job)]
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    def send(self, load: Load) -> Met:
        """
        Returns when every request was answered or given up.

        Raises:
            RuntimeError: the process ended.
        """
        assert self._process.stdin
        assert self._process.stdout
        self._process.stdin.write(json.dumps(asdict(load)) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"the callers' process ended with {self._process.wait()}; its last words stand above")
        return Met(
            **{key: tuple(value) if isinstance(value, list) else value for key, value in json.loads(line).items()}
        )


def main() -> None:
    """Answer until the input ends."""
    job = Path(sys.argv[1])
    photos = {kind: photos_of(job, kind) for kind in KINDS}
    numbers = itertools.count()
    for line in sys.stdin:
        load = Load(**json.loads(line))
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            met = runner.run(_send_all(load, photos[load.kind], lambda: next(numbers)))
        print(json.dumps(asdict(met)), flush=True)


async def _send_all(load: Load, photos: list[Photo], number: Callable[[], int]) -> Met:
    took_ms: list[float] = []
    labels: list[str] = []
    mistakes: list[str] = []
    limit = 0 if load.rate_per_s else load.connections
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=limit), timeout=aiohttp.ClientTimeout(_PATIENCE_S)
    ) as session:

        async def send(place: int, due: float) -> None:
            photo = photos[place % len(photos)]
            label, problem = await _asked(session, load, photo.numbered(number()))
            took_ms.append((time.perf_counter() - due) * 1000)
            labels.append(label)
            if label != photo.label:
                mistakes.append(problem or f"answered {label} where {photo.label} is right")

        began, began_cpu = time.perf_counter(), time.process_time()
        await (_open_loop if load.rate_per_s else _closed_loop)(load, send)
        wall_s, cpu_s = time.perf_counter() - began, time.process_time() - began_cpu
    return Met(tuple(took_ms), wall_s, cpu_s, sum(map(bool, labels)), len(mistakes), tuple(mistakes[:3]))


async def _closed_loop(load: Load, send: Callable[[int, float], Any]) -> None:
    places = iter(range(load.requests))

    async def caller() -> None:
        for place in places:
            await send(place, time.perf_counter())

    await asyncio.gather(*(caller() for _ in range(load.connections)))


async def _open_loop(load: Load, send: Callable[[int, float], Any]) -> None:
    """A slow answer delays no later request, and the wait for a late start counts: callers do not coordinate."""
    chance = random.Random(load.seed)
    due, sent = time.perf_counter() + 0.05, []
    for place in range(load.requests):
        await asyncio.sleep(max(0.0, due - time.perf_counter()))
        sent.append(asyncio.create_task(send(place, due)))
        due += chance.expovariate(load.rate_per_s)
    await asyncio.gather(*sent)


async def _asked(session: aiohttp.ClientSession, load: Load, jpeg: bytes) -> tuple[str, str]:
    """The label that is answered; or none, and why."""
    body, kind = jpeg, "image/jpeg"
    if load.field:
        body, kind = _form(load.field, jpeg), f"multipart/form-data; boundary={_BOUNDARY}"
    try:
        async with session.post(load.url, data=body, headers={"Content-Type": kind}) as response:
            text = await response.read()
            if response.status != 200:
                return "", f"status {response.status}: {text[:200]!r}"
            answer = json.loads(text)
    except (aiohttp.ClientError, TimeoutError, ValueError) as problem:
        return "", repr(problem)
    return str((answer[0] if isinstance(answer, list) else answer)["label"]), ""


def _form(field: str, jpeg: bytes) -> bytes:
    head = f'--{_BOUNDARY}\r\nContent-Disposition: form-data; name="{field}"; filename="photo.jpg"\r\n'
    return b"".join([head.encode(), b"Content-Type: image/jpeg\r\n\r\n", jpeg, f"\r\n--{_BOUNDARY}--\r\n".encode()])


if __name__ == "__main__":
    main()
