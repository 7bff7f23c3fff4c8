"""The reference: what a competent engineer writes in an hour with Starlette and ONNX Runtime. No log, no limits."""

import asyncio
import contextlib
from collections.abc import AsyncIterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.routing import Route

from tests.benchmarks.serving_rivals import MOST_BATCH, Network

Waiting = tuple[bytes, "asyncio.Future[dict[str, Any]]"]


class Batches:
    """One batch at a time on a thread: whatever queued while the last one ran."""

    def __init__(self) -> None:
        self._network = Network()
        self._thread = ThreadPoolExecutor(max_workers=1)
        self._waiting: asyncio.Queue[Waiting] = asyncio.Queue()

    async def ask(self, jpeg: bytes) -> dict[str, Any]:
        future: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._waiting.put_nowait((jpeg, future))
        return await future

    async def run(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            batch = [await self._waiting.get()]
            while len(batch) < MOST_BATCH and not self._waiting.empty():
                batch.append(self._waiting.get_nowait())
            answers = await loop.run_in_executor(self._thread, self._answers, [jpeg for jpeg, _ in batch])
            for (_, future), answer in zip(batch, answers, strict=True):
                if not future.done():
                    future.set_result(answer)

    def _answers(self, jpegs: list[bytes]) -> list[dict[str, Any]]:
        return self._network.answers([self._network.square(jpeg) for jpeg in jpegs])


async def predict(request: Request) -> JSONResponse:
    batches: Batches = request.app.state.batches
    return JSONResponse(await batches.ask(await request.body()))


@contextlib.asynccontextmanager
async def lifespan(app: Starlette) -> AsyncIterator[None]:
    app.state.batches = Batches()
    running = asyncio.create_task(app.state.batches.run())
    yield
    running.cancel()


app = Starlette(routes=[Route("/predict", predict, methods=["POST"])], lifespan=lifespan)
