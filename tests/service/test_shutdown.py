"""How serving processes leave: under load, with slow callers, in a hurry, and one of two."""

import http.client
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field

import httpx
import pytest

from service import commands
from service.segments import OPEN
from tests.service.cards import Place, answers, picture, wait_for, workers_of

pytestmark = pytest.mark.slow

IMAGE = picture()
JPEG = {"Content-Type": "image/jpeg"}


@dataclass
class Callers:
    """They send without a pause, and tell what became of every request."""

    place: Place
    answered: list[str] = field(default_factory=list)
    refused: list[tuple[int, str]] = field(default_factory=list)
    not_connected: int = 0
    broken: list[str] = field(default_factory=list)
    stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._threads = [threading.Thread(target=self._send, args=(number,)) for number in range(8)]
        for thread in self._threads:
            thread.start()

    def finish(self) -> None:
        self.stop.set()
        for thread in self._threads:
            thread.join()

    def _send(self, number: int) -> None:
        # Half of them keep their connection, the others come anew for every request.
        keep = {} if number % 2 else {"Connection": "close"}
        with httpx.Client(base_url=self.place.url, timeout=30, headers=JPEG | keep) as client:
            while not self.stop.is_set():
                try:
                    response = client.post("/v1/predict", content=IMAGE)
                except httpx.ConnectError:
                    self.not_connected += 1
                    time.sleep(0.01)
                except httpx.TransportError as error:
                    self.broken.append(repr(error))
                else:
                    self._note(response)

    def _note(self, response: httpx.Response) -> None:
        try:
            body = response.json()
            if response.status_code == 200:
                self.answered.append(body["id"])
            else:
                self.refused.append((response.status_code, body["error"]["code"]))
        except (ValueError, KeyError):
            self.broken.append(f"{response.status_code} {response.text[:200]}")


class SlowCaller:
    """Sends the first half of a request and waits before the rest."""

    def __init__(self, place: Place) -> None:
        self._socket = socket.create_connection(("127.0.0.1", place.settings.serve.port), timeout=30)
        head = (
            f"POST /v1/predict HTTP/1.1\r\nHost: x\r\nContent-Type: image/jpeg\r\nContent-Length: {len(IMAGE)}\r\n\r\n"
        )
        self._socket.sendall(head.encode() + IMAGE[:100])

    def send_the_rest(self) -> None:
        self._socket.sendall(IMAGE[100:])

    def answer(self) -> bytes:
        with self._socket as sock:
            return b"".join(iter(lambda: sock.recv(65_536), b""))


class IdleCaller:
    """Has a connection that it does not use at the moment."""

    def __init__(self, place: Place) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", place.settings.serve.port, timeout=30)
        assert self.ask("GET", "/livez")[0] == 200

    def ask(self, method: str, path: str, body: bytes = b"") -> tuple[int, dict[str, str], str]:
        """Status, headers, and the code of a refusal."""
        self._connection.request(method, path, body, JPEG)
        response = self._connection.getresponse()
        told = json.loads(response.read())
        headers = {name.lower(): value for name, value in response.getheaders()}
        error = told.get("error", {})
        return response.status, headers, error.get("code", "") if isinstance(error, dict) else error

    def leave(self) -> None:
        self._connection.close()


def start(place: Place, runtime: str) -> "subprocess.Popen[bytes]":
    place.champion()
    if runtime in ("bentoml", "uvicorn"):
        process = place.serve(runtime)
        # Ready is said a moment before the door opens.
        wait_for(lambda: place.output().count("Application startup complete") == 2, place.output)
        return process
    port = str(place.settings.serve.port)
    target = {
        "bentoml serve": ("bentoml", "serve", "service.app:ImageClassifier", "--working-dir", str(commands._HOUSE)),
        "uvicorn by hand": ("uvicorn", "service.http:create_app", "--factory"),
    }[runtime]
    argv = (sys.executable, "-m", *target, "--host", "127.0.0.1", "--port", port)
    process = place.start(commands.Child("by-hand", argv, commands.environment(place.settings), commands._HOUSE))
    wait_for(lambda: answers(f"{place.url}/readyz"), place.output, 60)
    return process


def is_stopping(place: Place, pids: list[int]) -> bool:
    return place.output().count("not ready from now on") >= len(pids)


@pytest.mark.parametrize(
    ("runtime", "name"),
    [
        ("bentoml", "SIGTERM"),
        ("uvicorn", "SIGTERM"),
        ("uvicorn by hand", "SIGTERM"),
        ("bentoml", "SIGINT"),
    ],
)
def test_stopping_under_load_breaks_no_request_and_loses_no_answer(place, runtime, name):
    number = signal.Signals[name]
    supervisor = start(place, runtime)
    callers = Callers(place)
    wait_for(lambda: len(callers.answered) > 40, place.output)

    supervisor.send_signal(number)
    code = supervisor.wait(60)
    callers.finish()

    assert callers.broken == [], place.output()
    assert set(callers.refused) <= {(503, "stopping")}
    assert callers.not_connected > 0
    assert code in (0, -number)
    logged = Counter(prediction.id for prediction in place.spooled()[0])
    assert logged == Counter(callers.answered)
    assert not list(place.spool.glob(f"*/*{OPEN}"))


def test_bentoml_serve_by_hand_loses_no_answer_either(place):
    supervisor = start(place, "bentoml serve")
    callers = Callers(place)
    wait_for(lambda: len(callers.answered) > 40, place.output)

    supervisor.terminate()
    supervisor.wait(60)
    callers.finish()

    # Its supervisor goes on listening while its workers leave: who comes then waits for nobody, and is reset.
    assert len(callers.broken) <= 8, callers.broken
    assert set(callers.refused) <= {(503, "stopping")}
    assert Counter(prediction.id for prediction in place.spooled()[0]) == Counter(callers.answered)
    assert not list(place.spool.glob(f"*/*{OPEN}"))


def test_one_of_two_workers_leaves_under_load_and_nobody_notices(place):
    supervisor = start(place, "bentoml")
    callers = Callers(place)
    leaving = workers_of(supervisor.pid)[0]
    os.kill(leaving, signal.SIGTERM)
    wait_for(lambda: place.output().count("Application startup complete") == 3, place.output, 60)
    callers.finish()
    supervisor.terminate()
    supervisor.wait(60)

    assert (callers.broken, callers.not_connected) == ([], 0), place.output()
    assert set(callers.refused) <= {(503, "stopping")}
    assert Counter(prediction.id for prediction in place.spooled()[0]) == Counter(callers.answered)


@pytest.mark.parametrize("runtime", ["bentoml", "uvicorn"])
def test_a_process_that_stops_says_so_answers_what_it_accepted_and_refuses_the_rest(place, runtime):
    toml = place.settings.root / "kedge.toml"
    toml.write_text(toml.read_text() + "drain_s = 5.0\n")  # time to look at it, also on a busy machine
    supervisor = start(place, runtime)
    pids = workers_of(supervisor.pid)
    # As many as make it certain that both workers have one of each.
    slow = [SlowCaller(place) for _ in range(12)]
    idle = [IdleCaller(place) for _ in range(12)]

    supervisor.terminate()
    wait_for(lambda: is_stopping(place, pids), place.output)
    not_ready = idle[0].ask("GET", "/readyz")
    nor_by_protocol = idle[2].ask("GET", "/v2/health/ready")
    draining = idle[1].ask("POST", "/v1/predict", IMAGE)
    wait_for(lambda: refuses(place), place.output)
    time.sleep(1.0)  # past the moment in which what is on its way is still answered
    refused = [caller.ask("POST", "/v1/predict", IMAGE) for caller in idle[3:]]
    for caller in slow:
        caller.send_the_rest()
    told = [caller.answer() for caller in slow]

    assert supervisor.wait(60) == 0
    assert (not_ready[0], not_ready[2]) == (503, "stopping")
    assert nor_by_protocol[0] == 503
    assert (draining[0], draining[1]["connection"]) == (200, "close")
    assert {(status, code) for status, _, code in refused} == {(503, "stopping")}
    assert all((headers["retry-after"], headers["connection"]) == ("1", "close") for _, headers, _ in refused)
    assert all(answer.startswith(b"HTTP/1.1 200") for answer in told), told
    assert len(place.spooled()[0]) == 1 + len(slow)
    for caller in idle:
        caller.leave()


@pytest.mark.parametrize("runtime", ["bentoml", "uvicorn"])
def test_who_keeps_a_connection_is_refused_before_it_is_closed(place, runtime):
    supervisor = start(place, runtime)
    idle = [IdleCaller(place) for _ in range(12)]

    supervisor.terminate()
    wait_for(lambda: refuses(place), place.output)
    time.sleep(1.0)  # past the moment in which what is on its way is still answered; nobody has anything in hand
    refused = [caller.ask("POST", "/v1/predict", IMAGE) for caller in idle]

    assert supervisor.wait(60) == 0
    assert {(status, code) for status, _, code in refused} == {(503, "stopping")}
    assert all(headers["connection"] == "close" for _, headers, _ in refused)
    assert place.spooled()[0] == []
    for caller in idle:
        caller.leave()


def refuses(place: Place) -> bool:
    """Nobody listens any more; the workers are still there for whoever they let in."""
    try:
        socket.create_connection(("127.0.0.1", place.settings.serve.port), timeout=5).close()
    except ConnectionRefusedError:
        return True
    return False


def test_a_second_signal_ends_the_patience_but_not_the_log(place):
    place.champion()
    program = "import sys; from service.commands import run_serve; from service.http import project_settings\n"
    env = commands.environment(place.settings)
    argv = (sys.executable, "-c", program + "sys.exit(run_serve(project_settings()))")
    front = place.start(commands.Child("front", argv, env, place.base))
    wait_for(lambda: answers(f"{place.url}/readyz"), place.output, 60)
    answer = httpx.post(f"{place.url}/v1/predict", content=IMAGE, headers=JPEG).json()
    stuck = SlowCaller(place)  # would be waited for until its deadline, half a minute

    front.send_signal(signal.SIGINT)
    wait_for(lambda: "not ready from now on" in place.output(), place.output)
    begun = time.monotonic()
    front.send_signal(signal.SIGINT)
    code = front.wait(60)
    took_s = time.monotonic() - begun
    stuck.answer()

    assert code == 0, place.output()
    assert took_s < place.settings.serve.deadline_s - 5
    assert not workers_of(front.pid)
    assert not list(place.spool.glob(f"*/*{OPEN}"))
    assert answer["id"] in {prediction.id for prediction in place.spooled()[0]} | shipped(place)


def shipped(place: Place) -> set[str]:
    from monitoring.prediction_log import PredictionLog

    frame = PredictionLog(place.settings.storage).predictions.scan()
    return set() if frame is None else set(frame.select("id").collect()["id"].to_list())
