"""Micro-batches without a timer: whatever queued while the last batch ran is the next one."""

import asyncio
import math
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Generic, TypeVar

Question = TypeVar("Question")
Answer = TypeVar("Answer")

_NEWEST_SHARE = 0.2


class QueueFull(Exception):
    """
    As many questions wait as may.

    Attributes:
        retry_after_s: whole seconds, at least one, after which the queue should be empty.
    """

    def __init__(self, retry_after_s: int = 1) -> None:
        super().__init__(f"the queue is full for about {retry_after_s} s")
        self.retry_after_s = retry_after_s


class DeadlinePassed(TimeoutError):
    """A question waited until nobody wanted its answer any more; it was not worked for."""


@dataclass(frozen=True)
class _Waiting(Generic[Question, Answer]):
    question: Question
    future: "asyncio.Future[Answer]"
    deadline: float


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
        self._waiting: deque[_Waiting[Question, Answer]] = deque()
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batch")
        self._in_hand = 0
        self._question_s: float | None = None

    @property
    def waiting(self) -> int:
        """Questions that no batch has taken yet."""
        return len(self._waiting)

    @property
    def wait_s(self) -> float:
        """Seconds until what waits and runs now is answered, by the pace of the latest batches; 0 before the first."""
        return (self._in_hand + len(self._waiting)) * (self._question_s or 0.0)

    def submit(self, questions: Sequence[Question], *, deadline: float = math.inf) -> "list[asyncio.Future[Answer]]":
        """
        Queue all the questions of one request, or none of them.

        Args:
            questions: each gets a future of its own; one that is cancelled before its turn is not worked for.
            deadline: by the monotonic clock; who still waits then gets `DeadlinePassed` instead of a turn.

        Raises:
            QueueFull: they would not all fit.
        """
        # A request that is larger than the whole queue is taken while nobody waits, or it would never be.
        if self._waiting and len(self._waiting) + len(questions) > self._most_waiting:
            raise QueueFull(max(1, math.ceil(self.wait_s)))
        loop = asyncio.get_running_loop()
        asked = [_Waiting[Question, Answer](question, loop.create_future(), deadline) for question in questions]
        idle = not self._in_hand and not self._waiting
        self._waiting.extend(asked)
        if idle:
            # After the requests that are already readable: a burst becomes one batch instead of one and the rest.
            loop.call_soon(self._next, loop)
        return [each.future for each in asked]

    def close(self) -> None:
        """Wait for the batch in hand; questions still waiting are dropped with their connections."""
        self._thread.shutdown(wait=True)

    def _next(self, loop: asyncio.AbstractEventLoop) -> None:
        batch = self._take()
        self._in_hand = len(batch)
        if not batch:
            return
        begun = time.monotonic()
        running = self._thread.submit(self._outcomes, [each.question for each in batch])
        running.add_done_callback(lambda done: loop.call_soon_threadsafe(self._finish, loop, batch, begun, done))

    def _take(self) -> list[_Waiting[Question, Answer]]:
        """The next batch, without those whose caller hung up or whose time is over."""
        batch: list[_Waiting[Question, Answer]] = []
        now = time.monotonic()
        while self._waiting and len(batch) < self._most_batch:
            each = self._waiting.popleft()
            if each.future.done():
                continue
            if each.deadline <= now:
                each.future.set_exception(DeadlinePassed("it waited too long for its turn"))
                continue
            batch.append(each)
        return batch

    def _outcomes(self, questions: Sequence[Question]) -> Sequence[Answer | Exception]:
        try:
            return self._work(questions)
        except Exception as error:  # noqa: BLE001 - the callers are told; the queue must go on
            return [error] * len(questions)

    def _finish(
        self,
        loop: asyncio.AbstractEventLoop,
        batch: Sequence[_Waiting[Question, Answer]],
        begun: float,
        done: "Future[Sequence[Answer | Exception]]",
    ) -> None:
        self._pace((time.monotonic() - begun) / len(batch))
        self._next(loop)
        for each, outcome in zip(batch, done.result(), strict=True):
            if each.future.done():
                continue
            if isinstance(outcome, Exception):
                each.future.set_exception(outcome)
            else:
                each.future.set_result(outcome)

    def _pace(self, question_s: float) -> None:
        before = question_s if self._question_s is None else self._question_s
        self._question_s = before + _NEWEST_SHARE * (question_s - before)
