"""The limit of requests: one number a caller, the same for every process of the machine."""

import fcntl
import os
import random
import signal
import subprocess
import sys
from dataclasses import replace

import httpx
import pytest
from starlette.testclient import TestClient

from infra.database import open_database
from infra.tokens import PREDICT, create
from service.http import create_app
from service.request_rate import Rate, RequestRate, request_rate
from tests.service.cards import wait_for

SECOND = 1_000_000_000

# Asks as fast as it can at one and the same moment, and says how often it was let pass.
ASK = """
import sys
from pathlib import Path
from service.request_rate import Rate, RequestRate
rate = RequestRate(Path(sys.argv[1]), Rate.per_second(float(sys.argv[2])), lambda: 77_000_000_000)
print("ready", flush=True)
sys.stdin.readline()
print(sum(rate.wait_s("hall-3") == 0 for _ in range(int(sys.argv[3]))), flush=True)
"""

HOLD = """
import fcntl, sys, time
file = open(sys.argv[1], "rb+")
fcntl.flock(file, fcntl.LOCK_EX)
print("held", flush=True)
time.sleep(600)
"""


class Clock:
    def __init__(self, at=1_000 * SECOND):
        self.at = at

    def __call__(self):
        return self.at


@pytest.fixture
def clock():
    return Clock()


def limited(tmp_path, clock, per_second):
    return RequestRate(tmp_path / "requests", Rate.per_second(per_second), clock)


def passed(rate, times, caller="hall-3"):
    return sum(rate.wait_s(caller) == 0 for _ in range(times))


@pytest.mark.parametrize(
    ("per_second", "at_once"), [(10, 10), (3, 3), (7, 7), (1000, 1000), (2.5, 2), (1, 1), (0.2, 1)]
)
def test_a_seconds_worth_may_come_at_once_and_at_least_one(tmp_path, clock, per_second, at_once):
    assert passed(limited(tmp_path, clock, per_second), at_once + 5) == at_once


@pytest.mark.parametrize("per_second", [0.2, 1, 7, 200])
def test_over_any_time_nobody_gets_more_than_the_rate_and_one_burst(per_second):
    chance = random.Random(4)
    rate, due, now, let_pass = Rate.per_second(per_second), 0, 10**15, []

    for _ in range(4000):
        now += int(chance.expovariate(per_second * 2) * SECOND)
        due, wait = rate.ask(due, now)
        if not wait:
            let_pass.append(now)

    burst = max(1, int(per_second))
    for first in range(0, len(let_pass), 37):
        for last in range(first, len(let_pass), 41):
            allowed = burst + per_second * (let_pass[last] - let_pass[first]) / SECOND
            assert last - first + 1 <= allowed + 1e-3
    # Twice as many came as are allowed. The next one after a pause of one comes half a pause late, on average.
    assert len(let_pass) > 0.6 * per_second * (now - 10**15) / SECOND


@pytest.mark.parametrize("per_second", [0.2, 1, 7, 200])
def test_who_waits_as_told_is_let_pass_and_who_waits_less_is_not(per_second):
    rate, due, now = Rate.per_second(per_second), 0, 10**15
    while True:
        due, wait = rate.ask(due, now)
        if wait:
            break

    assert rate.ask(due, now + wait - 1)[1] == 1
    assert rate.ask(due, now + wait)[1] == 0


def test_the_wait_is_told_in_whole_seconds_rounded_up(tmp_path, clock):
    rate = limited(tmp_path, clock, 0.4)  # one in 2.5 s

    told = [rate.wait_s("hall-3") for _ in range(2)]
    clock.at += int(1.4 * SECOND)
    told.append(rate.wait_s("hall-3"))
    clock.at += int(1.1 * SECOND)
    told.append(rate.wait_s("hall-3"))

    assert told == [0, 3, 2, 0]


def test_who_is_refused_is_not_charged_for_asking(tmp_path, clock):
    rate = limited(tmp_path, clock, 1)
    passed(rate, 1000)

    clock.at += SECOND

    assert passed(rate, 10) == 1


def test_callers_are_counted_apart(tmp_path, clock):
    rate = limited(tmp_path, clock, 5)

    assert [passed(rate, 9, f"caller {number}") for number in range(300)] == [5] * 300


def test_more_callers_than_the_file_has_room_for_are_still_let_pass_and_mostly_limited(tmp_path, clock):
    rate = limited(tmp_path, clock, 1)

    first = [rate.wait_s(f"caller {number}") for number in range(20_000)]
    again = [rate.wait_s("caller 19999") for _ in range(3)]

    assert set(first) == {0}
    assert again == [1, 1, 1]
    assert (tmp_path / "requests").stat().st_size == 4096 * 24


@pytest.mark.parametrize("later", [False, True])
def test_what_was_counted_before_the_machine_was_started_anew_is_forgotten(tmp_path, clock, later):
    before = limited(tmp_path, clock, 5)
    assert passed(before, 9) == 5

    clock.at = 3 * SECOND if not later else 10**18

    assert passed(limited(tmp_path, clock, 5), 9) == 5


def test_a_limit_that_was_made_stricter_or_looser_holds_at_once(tmp_path, clock):
    assert passed(limited(tmp_path, clock, 0.01), 3) == 1  # the next is due in 100 s

    assert passed(limited(tmp_path, clock, 5), 9) == 5
    assert passed(limited(tmp_path, clock, 2), 9) == 0


def test_processes_share_one_limit_to_the_request(tmp_path):
    arguments = [sys.executable, "-c", ASK, str(tmp_path / "requests"), "2000", "3000"]
    running = [subprocess.Popen(arguments, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    assert [process.stdout.readline() for process in running] == ["ready\n"] * 2

    for process in running:
        process.stdin.write("go\n")
        process.stdin.flush()
    counted = [int(process.communicate(timeout=60)[0]) for process in running]

    assert sum(counted) == 2000
    assert min(counted) > 0, "one was through before the other began: nothing was tried"


def test_a_process_that_was_stopped_with_the_lock_in_its_hand_stops_nobody_else(tmp_path, clock):
    rate = limited(tmp_path, clock, 3)
    command = [sys.executable, "-c", HOLD, str(tmp_path / "requests")]
    holder = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert holder.stdout.readline() == "held\n"
        holder.send_signal(signal.SIGSTOP)

        assert passed(rate, 5) == 3
    finally:
        holder.kill()
        holder.communicate()
    with (tmp_path / "requests").open("rb+") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # a killed process lets go of it


@pytest.mark.parametrize("damage", [b"", b"torn", random.Random(0).randbytes(200_000)])
def test_a_damaged_file_is_used_as_it_is(tmp_path, clock, damage):
    (tmp_path / "requests").write_bytes(damage)
    rate = limited(tmp_path, clock, 5)

    assert passed(rate, 9) == 5
    os.truncate(tmp_path / "requests", 10)
    assert passed(rate, 9) == 5


def test_where_nothing_can_be_written_nobody_is_limited_and_the_log_says_so(tmp_path, clock, caplog):
    (tmp_path / "requests").mkdir()

    assert passed(limited(tmp_path, clock, 1), 5) == 5
    assert "requests are not limited" in caplog.text


def test_no_limit_is_the_default_and_makes_no_file(place):
    assert request_rate(place.settings) is None
    assert not (place.settings.storage.home / "serving").exists()


def with_rate(place, per_second):
    return replace(place.settings, serve=replace(place.settings.serve, most_requests_per_s=per_second))


def test_over_http_the_next_request_is_told_when_to_come_back(place):
    with TestClient(create_app(with_rate(place, 0.05))) as client:
        first, second = (client.get("/v1/model") for _ in range(2))
        open_to_all = [client.get("/livez").status_code for _ in range(3)]
        page = client.get("/metrics").text

    assert first.status_code == 503  # there is no model, but the request was let pass
    assert (second.status_code, second.json()["error"]["code"]) == (429, "rate_limited")
    assert second.headers["Retry-After"] in {"19", "20"}
    assert "connection" not in second.headers
    assert open_to_all == [200] * 3
    assert 'kedge_http_requests_total{route="/v1/model",status="429"} 1.0' in page


def test_tokens_are_limited_apart_and_who_has_none_by_address(place):
    engine = open_database(place.settings.storage.database)
    secrets = [create(engine, name, PREDICT, actor="test").secret for name in ("a", "b")]
    engine.dispose()
    with TestClient(create_app(with_rate(place, 0.01))) as client:
        wait_for(lambda: client.get("/v1/model").status_code == 401)
        seen = [client.get("/v1/model", headers={"Authorization": f"Bearer {secret}"}).status_code
                for secret in (*secrets, *secrets)]  # fmt: skip
        strangers = [client.get("/v1/model").status_code for _ in range(3)]

    assert seen == [503, 503, 429, 429]
    assert strangers == [401] * 3  # nobody who may not come in can use up what others may


def test_who_is_too_early_is_refused_before_the_body_is_read(place):
    with TestClient(create_app(with_rate(place, 0.01))) as client:
        client.get("/v1/model")
        response = client.post("/v1/predict", content=b"x" * 3_000_000, headers={"Content-Type": "image/jpeg"})

    assert response.status_code == 429  # and not 413


@pytest.mark.slow
def test_all_workers_of_a_service_share_the_limit(place):
    place.champion()
    place.settings = with_rate(place, 0.01)
    (place.settings.root / "kedge.toml").write_text(
        (place.settings.root / "kedge.toml").read_text() + "most_requests_per_s = 0.01\n"
    )
    place.serve("bentoml")

    # A connection each, so that both workers are met.
    seen = [httpx.get(f"{place.url}/v1/model", timeout=10).status_code for _ in range(30)]

    assert seen == [200] + [429] * 29
