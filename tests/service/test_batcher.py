import asyncio
import threading
import time
from collections.abc import Sequence

import pytest

from service.batcher import Batcher, DeadlinePassed, QueueFull


def test_what_queues_while_a_batch_runs_becomes_the_next_batch():
    batches: list[list[int]] = []
    begun, gate = threading.Event(), threading.Event()

    def work(items: Sequence[int]) -> list[int]:
        batches.append(list(items))
        begun.set()
        gate.wait(5)
        return [item * 10 for item in items]

    async def story() -> list[int]:
        batcher: Batcher[int, int] = Batcher(work, most_waiting=100, most_batch=4)
        first = batcher.submit([1])
        await asyncio.to_thread(begun.wait, 5)
        rest = [future for number in range(2, 8) for future in batcher.submit([number])]
        gate.set()
        answers = await asyncio.gather(*first, *rest)
        batcher.close()
        return list(answers)

    assert asyncio.run(story()) == [10, 20, 30, 40, 50, 60, 70]
    assert batches == [[1], [2, 3, 4, 5], [6, 7]]


def test_one_bad_item_harms_no_neighbour():
    def work(items: Sequence[int]) -> list[int | Exception]:
        return [ValueError(f"{item} is odd") if item % 2 else item for item in items]

    async def story() -> list[object]:
        batcher: Batcher[int, int] = Batcher(work, most_waiting=100, most_batch=8)
        outcomes = await asyncio.gather(*batcher.submit([1, 2, 3, 4]), return_exceptions=True)
        batcher.close()
        return [str(outcome) for outcome in outcomes]

    assert asyncio.run(story()) == ["1 is odd", "2", "3 is odd", "4"]


def test_a_batch_that_fails_as_a_whole_tells_its_callers_and_the_next_one_runs():
    def work(items: Sequence[int]) -> list[int]:
        if 0 in items:
            raise ZeroDivisionError
        return list(items)

    async def story() -> tuple[bool, int]:
        batcher: Batcher[int, int] = Batcher(work, most_waiting=100, most_batch=8)
        (failing,) = batcher.submit([0])
        failed = isinstance((await asyncio.gather(failing, return_exceptions=True))[0], ZeroDivisionError)
        (after,) = batcher.submit([5])
        value = await after
        batcher.close()
        return failed, value

    assert asyncio.run(story()) == (True, 5)


def test_a_full_queue_takes_all_of_a_request_or_nothing():
    begun, gate = threading.Event(), threading.Event()

    def work(items: Sequence[int]) -> list[int]:
        begun.set()
        gate.wait(5)
        return list(items)

    async def story() -> int:
        batcher: Batcher[int, int] = Batcher(work, most_waiting=3, most_batch=1)
        taken = batcher.submit([1])
        await asyncio.to_thread(begun.wait, 5)
        taken += batcher.submit([2, 3])
        with pytest.raises(QueueFull):
            batcher.submit([4, 5])
        waiting = batcher.waiting
        gate.set()
        await asyncio.gather(*taken)
        batcher.close()
        return waiting

    assert asyncio.run(story()) == 2


class Gated:
    """Work that remembers its batches and goes on when it is told to."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.begun, self.gate = threading.Event(), threading.Event()

    def __call__(self, items: Sequence[int]) -> list[int]:
        self.batches.append(list(items))
        self.begun.set()
        assert self.gate.wait(20)
        return list(items)


def test_whoever_hung_up_or_ran_out_of_time_before_its_turn_is_not_worked_for():
    work = Gated()

    async def story() -> list[object]:
        batcher: Batcher[int, int] = Batcher(work, most_waiting=100, most_batch=8)
        first = batcher.submit([1])
        await asyncio.to_thread(work.begun.wait, 20)
        (gone,) = batcher.submit([2])
        (late,) = batcher.submit([3], deadline=time.monotonic() - 0.001)
        (patient,) = batcher.submit([4], deadline=time.monotonic() + 600)
        gone.cancel()
        work.gate.set()
        outcomes = await asyncio.gather(*first, gone, late, patient, return_exceptions=True)
        batcher.close()
        return [outcome if isinstance(outcome, int) else type(outcome) for outcome in outcomes]

    assert asyncio.run(story()) == [1, asyncio.CancelledError, DeadlinePassed, 4]
    assert work.batches == [[1], [4]]


def test_a_queue_of_nobody_who_still_waits_takes_new_questions_afterwards():
    work = Gated()
    work.gate.set()

    async def story() -> int:
        batcher: Batcher[int, int] = Batcher(work, most_waiting=100, most_batch=8)
        (late,) = batcher.submit([1], deadline=0.0)
        with pytest.raises(DeadlinePassed):
            await late
        (after,) = batcher.submit([2])
        answer = await after
        batcher.close()
        return answer

    assert asyncio.run(story()) == 2
    assert work.batches == [[2]]


def test_a_full_queue_says_after_how_many_seconds_it_will_be_empty():
    work = Gated()
    work.gate.set()

    async def story() -> tuple[float, float, int, float]:
        batcher: Batcher[int, int] = Batcher(work, most_waiting=20, most_batch=1)
        fresh = batcher.wait_s
        await asyncio.gather(*batcher.submit([0]))
        batcher._question_s = 0.5  # a pace that the test chooses
        work.gate.clear()
        work.begun.clear()
        taken = batcher.submit([1])
        await asyncio.to_thread(work.begun.wait, 20)
        taken += batcher.submit(list(range(20)))
        waiting = batcher.wait_s
        with pytest.raises(QueueFull) as refused:
            batcher.submit([99])
        work.gate.set()
        await asyncio.gather(*taken)
        empty = batcher.wait_s
        batcher.close()
        return fresh, waiting, refused.value.retry_after_s, empty

    fresh, waiting, retry_after_s, empty = asyncio.run(story())

    assert (fresh, waiting, retry_after_s, empty) == (0.0, 10.5, 11, 0.0)


def test_the_pace_follows_the_latest_batches():
    async def story() -> list[float]:
        batcher: Batcher[int, int] = Batcher(list, most_waiting=20, most_batch=1)
        paces = []
        for seconds in (1.0, 1.0, 0.0, *[0.0] * 40):
            batcher._pace(seconds)
            paces.append(batcher._question_s or 0.0)
        batcher.close()
        return paces

    first, second, third, *_, last = asyncio.run(story())

    assert (first, second, third) == (1.0, 1.0, 0.8)
    assert last < 0.001
