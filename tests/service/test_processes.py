"""The service as it truly runs: supervisor, workers, shipper, and what happens when they are killed."""

import http.client
import os
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path

import httpx
import psutil
import pytest

from infra.database import reading
from infra.errors import UserError
from infra.objects import open_objects
from infra.schema import heartbeats, serving_workers
from monitoring.prediction_log import PredictionLog, image_key
from service import commands
from service.client import Client, Feedback, ServiceRefused
from service.segments import OPEN, SEALED
from tests.service.cards import Place, answers, picture, wait_for, workers_of

pytestmark = pytest.mark.slow

LIGHT, DARK = picture((250, 250, 250)), picture((5, 5, 5))


class Traffic:
    """Callers that send without a pause and remember every answer and every failure."""

    def __init__(self, place: Place, callers: int = 4) -> None:
        self.answered: dict[str, str] = {}
        self.failed: list[str] = []
        self._place, self._stop = place, threading.Event()
        self._threads = [threading.Thread(target=self._send) for _ in range(callers)]
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stop.set()
        for thread in self._threads:
            thread.join()

    def _send(self) -> None:
        with httpx.Client(base_url=self._place.url, timeout=30) as http:
            while not self._stop.is_set():
                try:
                    response = http.post("/v1/predict", content=LIGHT, headers={"Content-Type": "image/jpeg"})
                    answer = response.json()
                    self.answered[answer["id"]] = answer["model"]
                except (httpx.TransportError, KeyError, ValueError) as error:
                    self.failed.append(repr(error))


def shipped(place: Place) -> list[str]:
    frame = PredictionLog(place.settings.storage).predictions.scan()
    return [] if frame is None else frame.select("id").collect()["id"].to_list()


def workers(place: Place) -> list[tuple[int | None, str | None]]:
    with reading(place.registry.engine) as connection:
        rows = connection.execute(serving_workers.select()).all()
    return [(row.version, row.error) for row in rows]


def ship_once(place: Place) -> None:
    child = commands.shipper(place.settings)
    argv = [sys.executable, "-m", "service.shipper", "--once"]
    subprocess.run(argv, env=dict(child.env), cwd=child.folder, check=True, timeout=120)


def test_an_image_sent_over_http_ends_up_in_the_tables_with_its_bytes_and_its_label(place):
    place.champion()
    place.serve()
    shipper = place.start(commands.shipper(place.settings))

    with Client(place.url) as client:
        answer = client.predict(DARK, {"camera": "A"})
        notes = client.feedback([Feedback(answer.id, "light", "ada"), Feedback(answer.id, "dark", "bob")])
        model = client.model()
    log = PredictionLog(place.settings.storage)
    wait_for(lambda: log.labelled().height == 1, place.output)

    row = log.labelled().row(0, named=True)
    assert (answer.label, answer.version, notes, model["version"]) == ("dark", 1, [], 1)
    assert (row["id"], row["label"], row["true_label"], row["labelled_by"]) == (answer.id, "dark", "dark", "bob")
    assert open_objects(place.settings.storage).get(image_key(row["image_sha256"])) == DARK
    with reading(place.registry.engine) as connection:
        assert connection.execute(heartbeats.select()).one().pid == shipper.pid


def test_a_bare_project_lives_refuses_clearly_and_serves_once_a_champion_is_there(place):
    place.serve(ready=False)

    before = httpx.get(f"{place.url}/readyz")
    nothing = httpx.get(f"{place.url}/nothing/here")
    place.champion()
    wait_for(lambda: answers(f"{place.url}/readyz"), place.output)

    assert (before.status_code, before.json()["error"]["code"]) == (503, "no_model")
    assert (nothing.status_code, nothing.json()["error"]["code"]) == (404, "not_found")
    assert "Kedge" in httpx.get(place.url).text


def test_the_champion_changes_under_load_without_a_failed_request(place):
    for sharpness in (8.0, 6.0, 4.0):
        place.version(sharpness=sharpness)
    place.registry.champions.promote(1, actor="test", reason="first")
    place.serve()
    traffic = Traffic(place)
    for version in (2, 3, 1, 2, 1, 3, 2, 1, 3, 1):
        place.registry.champions.promote(version, actor="test", reason="swap")
        wait_for(lambda version=version: [seen for seen, _ in workers(place)] == [version] * 2, place.output)
    traffic.stop()

    assert traffic.failed == []
    assert set(traffic.answered.values()) == {"cards:1", "cards:2", "cards:3"}
    assert httpx.get(f"{place.url}/v1/model").json()["version"] == 1


def test_a_corrupt_artifact_is_refused_the_old_model_stays_and_the_reason_is_told(place):
    place.champion()
    place.serve()
    bad = place.version(sharpness=2.0)
    stored = open_objects(place.settings.storage)
    key = f"models/cards/{bad}/model.onnx"
    whole = stored.get(key)
    stored.put(key, whole[:-1] + b"x")
    place.registry.champions.promote(bad, actor="test", reason="unlucky")

    wait_for(lambda: all(error for _, error in workers(place)), place.output)
    told = httpx.get(f"{place.url}/v1/model").json()
    with Client(place.url) as client:
        answered_by = client.predict(LIGHT).version
    place.registry.champions.rollback(actor="test", reason="corrupt")
    wait_for(lambda: workers(place) == [(1, None)] * 2, place.output)

    assert (told["version"], answered_by) == (1, 1)
    assert "version 2 was refused" in told["error"]
    assert "corrupt" in told["error"]
    assert httpx.get(f"{place.url}/v1/model").json()["error"] is None


def test_killing_every_worker_under_load_loses_no_answered_prediction(place):
    place.champion()
    supervisor = place.serve()
    ids: set[str] = set()
    for _ in range(3):
        wait_for(lambda: len(workers_of(supervisor.pid)) == 2, place.output, 60)
        traffic = Traffic(place)
        wait_for(lambda traffic=traffic: len(traffic.answered) > 50, place.output)
        for pid in workers_of(supervisor.pid):
            os.kill(pid, signal.SIGKILL)
        traffic.stop()
        ids |= set(traffic.answered)
        wait_for(lambda: answers(f"{place.url}/readyz"), place.output, 60)
    os.killpg(supervisor.pid, signal.SIGKILL)
    supervisor.wait()
    ship_once(place)

    found = Counter(shipped(place))
    assert ids <= set(found)
    assert set(found.values()) == {1}
    assert not list(place.spool.glob(f"*/*{SEALED}")) + list(place.spool.glob(f"*/*{OPEN}"))


def test_a_shipper_that_is_killed_again_and_again_ships_everything_once(place):
    place.champion()
    place.serve()
    traffic = Traffic(place)
    for _ in range(4):
        shipper = place.start(commands.shipper(place.settings))
        seen = len(shipped(place))
        wait_for(lambda seen=seen: len(shipped(place)) > seen, place.output)
        shipper.kill()
        shipper.wait()
    traffic.stop()
    place.running[0].terminate()
    place.running[0].wait(30)
    ship_once(place)

    found = Counter(shipped(place))
    assert set(traffic.answered) <= set(found)
    assert set(found.values()) == {1}


def test_the_workers_leave_when_their_supervisor_is_killed(place):
    place.champion()
    supervisor = place.serve()
    pids = workers_of(supervisor.pid)

    supervisor.kill()
    supervisor.wait()

    wait_for(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), place.output)
    assert len(pids) == 2
    commands.check_port(place.settings)


def test_serving_goes_on_and_even_starts_while_the_database_is_away(place):
    place.champion()
    place.serve("uvicorn").terminate()
    place.running[0].wait(30)
    database = place.settings.storage.home / "kedge.db"
    database.rename(database.with_suffix(".away"))
    database.mkdir()

    place.serve("uvicorn", listed=False)

    with Client(place.url) as client:
        assert client.predict(LIGHT).model == "cards:1"


def test_the_same_application_runs_under_a_plain_server(place):
    place.champion()
    process = place.serve("uvicorn")

    with Client(place.url) as client:
        answer = client.predict(DARK)
        with pytest.raises(ServiceRefused) as refused:
            client.predict(b"no image")
    process.terminate()

    assert process.wait(20) in (0, -signal.SIGTERM)
    assert (answer.label, refused.value.code) == ("dark", "not_an_image")
    assert [row.id for row in place.spooled()[0]] == [answer.id]


@pytest.mark.parametrize("runtime", ["bentoml", "uvicorn"])
def test_the_connections_are_spread_over_the_workers(place, runtime):
    place.champion()
    supervisor = place.serve(runtime)
    # Ready is said a moment before the door opens; who comes then meets one worker alone.
    wait_for(lambda: place.output().count("Application startup complete") == 2, place.output)

    connections = [http.client.HTTPConnection("127.0.0.1", place.settings.serve.port, timeout=30) for _ in range(64)]
    for connection in connections:
        connection.connect()
    shares = Counter(owner_of(connection, workers_of(supervisor.pid)) for connection in connections)
    for connection in connections:
        connection.close()

    # Chance: of 64 fair throws, fewer than 12 on one side come once in ten million.
    assert len(shares) == 2
    assert min(shares.values()) >= 12, shares


def owner_of(connection: http.client.HTTPConnection, pids: list[int]) -> int:
    """The worker that has the other end of the connection."""
    connection.request("GET", "/livez")
    connection.getresponse().read()
    own = connection.sock.getsockname()[1]
    for pid in pids:
        if any(there.raddr and there.raddr.port == own for there in psutil.Process(pid).net_connections("tcp")):
            return pid
    raise AssertionError(f"nobody of {pids} has the connection from port {own}")


@pytest.mark.parametrize("runtime", ["bentoml", "uvicorn"])
def test_a_port_belongs_to_one_supervisor_although_its_workers_share_it(place, runtime):
    place.champion()
    place.serve(runtime)

    with pytest.raises(UserError, match="Address already in use"):
        commands.check_port(place.settings)
    second = place.start(commands.serve(place.settings, runtime=runtime))

    assert second.wait(60) != 0
    assert "Address already in use" in place.output()
    assert list((place.settings.storage.home / "metrics").glob("*.db"))  # it has not touched the other's counters
    assert answers(f"{place.url}/readyz")


@pytest.mark.parametrize("runtime", ["bentoml", "uvicorn"])
def test_a_body_that_is_too_large_is_refused_while_it_still_streams(place, runtime):
    place.champion()
    place.serve(runtime)

    def chunks():
        for _ in range(64):
            yield bytes(100_000)

    response = httpx.post(f"{place.url}/v1/predict", content=chunks(), headers={"Content-Type": "image/jpeg"})

    assert (response.status_code, response.json()["error"]["code"]) == (413, "body_too_large")
    assert answers(f"{place.url}/readyz")


@pytest.mark.parametrize("runtime", ["bentoml", "uvicorn"])
def test_counters_are_summed_over_workers_and_survive_a_killed_one(place, runtime):
    place.champion()
    supervisor = place.serve(runtime)
    with Client(place.url) as client:
        for _ in range(20):
            client.predict(LIGHT)
        killed = workers_of(supervisor.pid)[0]
        os.kill(killed, signal.SIGKILL)
        wait_for(lambda: len(set(workers_of(supervisor.pid)) - {killed}) == 2, place.output)
        wait_for(lambda: answers(f"{place.url}/readyz"), place.output)
        for _ in range(5):
            client.predict(LIGHT)

    page = httpx.get(f"{place.url}/metrics").text
    folder = place.settings.storage.home / "metrics"
    assert folder.stat().st_mode & 0o077 == 0
    assert not list(folder.glob(f"gauge_live*_{killed}.db"))
    assert 'kedge_http_requests_total{route="/v1/predict",status="200"} 25.0' in page
    assert "kedge_predictions_total 25.0" in page
    assert "bentoml" not in page


def test_serving_in_the_foreground_stops_in_order_and_leaves_nothing_in_the_spool(place):
    place.champion()
    program = "import sys; from service.commands import run_serve; from service.http import project_settings\n"
    env = commands.environment(place.settings)
    child = commands.Child(
        "front", (sys.executable, "-c", program + "sys.exit(run_serve(project_settings()))"), env, place.base
    )
    front = place.start(child)
    wait_for(lambda: answers(f"{place.url}/readyz"), place.output, 60)
    with Client(place.url) as client:
        answer = client.predict(LIGHT)

    front.send_signal(signal.SIGINT)

    assert front.wait(60) == 0, place.output()
    assert shipped(place) == [answer.id]
    assert place.spooled() == ([], [])
