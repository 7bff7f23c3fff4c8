"""Micro-batches without a timer: whatever queued while the last batch ran is the next one."""

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Generic, TypeVar

Question = TypeVar("Question")
Answer = TypeVar("Answer")


class QueueFull(Exception):
    """As many questions wait as may; the caller should come back in a moment."""


class Batcher(Generic[Question, Answer]):
    """
    Hands questions to `work` in batches, on one thread of its own; belongs to one event loop.

    A lone question waits for nothing; under load the batches grow by themselves. `work` gives one outcome for each
    question, in order; an outcome that is an exception is raised to its own caller and to no other.
    """

    def __init__(
        self, work: Callable[[Sequence[Question]], Sequence[Answer | Exception]], *, most_waiting: int, most_batch: int
    ) -> None:
        self._work, self._most_waiting, self._most_batch = work, most_waiting, most_batch
        self._waiting: deque[tuple[Question, asyncio.Future[Answer]]] = deque()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batch")
        self._busy = False

    @property
    def waiting(self) -> int:
        """Questions that no batch has taken yet."""
        return len(self._waiting)

    def submit(self, questions: Sequence[Question]) -> list[asyncio.Future[Answer]]:
        """
        Queue all the questions of one request, or none of them.

        Raises:
            QueueFull: they would not all fit.
        """
        # A request that is larger than the whole queue is taken while nobody waits, or it would never be.
        if self._waiting and len(self._waiting) + len(questions) > self._most_waiting:
            raise QueueFull
        loop = asyncio.get_running_loop()
        futures: list[asyncio.Future[Answer]] = [loop.create_future() for _ in questions]
        self._waiting.extend(zip(questions, futures, strict=True))
        if not self._busy:
            self._busy = True
            # After the requests that are already readable: a burst becomes one batch instead of one and the rest.
            loop.call_soon(self._next, loop)
        return futures

    def close(self) -> None:
        """Wait for the batch in hand; questions still waiting are dropped with their connections."""
        self._thread.shutdown(wait=True)

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        batch: list[tuple[Question, asyncio.Future[Answer]]] = []
        while self._waiting and len(batch) < self._most_batch:
            question, future = self._waiting.popleft()
            # Whoever hung up is not worked for.
            if not future.done():
                batch.append((question, future))
        if not batch:
            self._busy = False
            return
        running = self._thread.submit(self._outcomes, [question for question, _ in batch])
        running.add_done_callback(lambda done: loop.call_soon_threadsafe(self._finish, loop, batch, done))

    def _outcomes(self, questions: Sequence[Question]) -> Sequence[Answer | Exception]:
        try:
            return self._work(questions)
        except Exception as error:  # noqa: BLE001 - the callers are told; the queue must go on
            return [error] * len(questions)

    def _finish(
        self,
        loop: asyncio.AbstractEventLoop,
        batch: Sequence[tuple[Question, asyncio.Future[Answer]]],
        done: "Future[Sequence[Answer | Exception]]",
    ) -> None:
        self._next(loop)
        for (_, future), outcome in zip(batch, done.result(), strict=True):
            if future.done():
                continue
            if isinstance(outcome, Exception):
                future.set_exception(outcome)
            else:
                future.set_result(outcome)
