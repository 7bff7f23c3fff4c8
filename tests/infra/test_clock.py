import os
import uuid
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta

import pytest

from infra.clock import new_id, now, time_of_id


def test_the_present_moment_is_aware_and_in_utc():
    assert now().utcoffset() == timedelta(0)


def test_an_identifier_is_a_version_7_uuid_of_rfc_9562():
    identifier = uuid.UUID(new_id())

    assert (identifier.version, identifier.variant) == (7, uuid.RFC_4122)


@pytest.mark.parametrize("microsecond", [0, 1_000, 123_000, 999_000])
def test_an_identifier_knows_its_millisecond(microsecond):
    at = datetime(2026, 11, 20, 23, 59, 59, microsecond, tzinfo=UTC)

    assert time_of_id(new_id(at)) == at


def test_identifiers_sort_by_the_time_they_were_made():
    start = datetime(2026, 11, 20, tzinfo=UTC)
    in_order = [new_id(start + timedelta(milliseconds=step)) for step in range(200)]

    assert sorted(in_order) == in_order


def test_identifiers_of_one_millisecond_differ():
    at = now()

    assert len({new_id(at) for _ in range(1000)}) == 1000


@pytest.mark.parametrize(
    "foreign",
    [
        "order-17",
        "",
        "6ba7b810-9dad-11d1-80b4-00c04fd430c8",  # version 1
        "9f1c2f4e-7a51-4a8e-9c0b-3f5d1e6a7b28",
        "ffffffff-ffff-7fff-bfff-ffffffffffff",  # version 7, of the year 10889
    ],
)
def test_an_identifier_of_somebody_else_has_no_time(foreign):
    assert time_of_id(foreign) is None


def test_many_threads_and_a_forked_child_never_draw_the_same_id():
    with ThreadPoolExecutor(8) as pool:
        drawn = [one for part in pool.map(lambda _: [new_id() for _ in range(2000)], range(8)) for one in part]
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(writing, "\n".join(new_id() for _ in range(300)).encode())
        os._exit(0)
    own = [new_id() for _ in range(300)]
    os.close(writing)
    with os.fdopen(reading) as stream:
        forked = stream.read().split()
    os.waitpid(child, 0)

    assert len(set(drawn + own + forked)) == 16_600
    assert len({one[-12:] for one in own + forked}) == 600
