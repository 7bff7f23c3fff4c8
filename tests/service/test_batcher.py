import asyncio
import threading
from collections.abc import Sequence

import pytest

from service.batcher import Batcher, QueueFull


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
