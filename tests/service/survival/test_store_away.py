"""The object store is away for a while and comes back: answers go on, the spool waits, nothing is lost or doubled."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import boto3
import httpx
import pytest

from infra.settings import load
from service import commands
from tests.service.cards import Place, wait_for
from tests.service.survival.traffic import Traffic, check_the_books, configure

pytestmark = [pytest.mark.slow, pytest.mark.survival]

# KEDGE_TEST_AWAY_S=60 runs the true minute.
AWAY_S = float(os.environ.get("KEDGE_TEST_AWAY_S", "6"))


class Door:
    """A port in front of a server that can be shut: connections break, and new ones are refused."""

    def __init__(self, behind: int) -> None:
        self._behind, self._connections, self._listener = behind, set[socket.socket](), socket.socket()
        self._listener.bind(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self._listener.close()
        self.open()

    def open(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self._let_in, args=(self._listener,), daemon=True).start()

    def shut(self) -> None:
        # Closing alone would not wake the thread that waits at it.
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        for connection in list(self._connections):
            _end(connection)

    def _let_in(self, listener: socket.socket) -> None:
        while True:
            try:
                caller, _ = listener.accept()
            except OSError:
                return
            server = socket.create_connection(("127.0.0.1", self._behind))
            self._connections |= {caller, server}
            for source, target in ((caller, server), (server, caller)):
                threading.Thread(target=self._carry, args=(source, target), daemon=True).start()

    def _carry(self, source: socket.socket, target: socket.socket) -> None:
        try:
            while data := source.recv(65_536):
                target.sendall(data)
        except OSError:
            pass
        _end(source)
        _end(target)


class Store:
    """An S3 server in a process of its own, behind a door."""

    def __init__(self, folder: Path) -> None:
        port = _free_port()
        log = (folder / "store.log").open("wb")
        command = [str(Path(sys.executable).parent / "moto_server"), "-H", "127.0.0.1", "-p", str(port)]
        self.process = subprocess.Popen(command, stdout=log, stderr=log)
        log.close()
        wait_for(lambda: _listens(port), (folder / "store.log").read_text, 60)
        self.door = Door(port)
        boto3.client("s3", endpoint_url=self.url, region_name="us-east-1").create_bucket(Bucket="team")

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.door.port}"

    def leave(self, how: str) -> None:
        if how == "refuses":
            self.door.shut()
        else:
            self.process.send_signal(signal.SIGSTOP)

    def come_back(self, how: str) -> None:
        if how == "refuses":
            self.door.open()
        else:
            self.process.send_signal(signal.SIGCONT)


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a secret")
    made = Store(tmp_path)
    yield made
    made.door.shut()
    made.process.kill()
    made.process.wait()


@pytest.mark.parametrize("how", ["refuses", "is silent"])
def test_the_object_store_goes_away_and_comes_back_and_nothing_is_lost(place: Place, store: Store, how: str) -> None:
    toml = place.settings.root / "kedge.toml"
    toml.write_text(f'[storage]\nobjects = "s3://team/kedge"\ns3_endpoint = "{store.url}"\n{toml.read_text()}')
    # A commit over the network takes longer than one into a folder: fewer of them, as with the default of a minute.
    configure(place, seal_s=3)
    place.settings = load(place.settings.root, {})
    place.champion()
    place.serve()
    place.start(commands.shipper(place.settings))
    with Traffic(place.url, callers=1, labels=False) as traffic:
        # One caller keeps one connection, and so one worker: the other's slot may stay empty.
        wait_for(lambda: list(place.spool.glob("*/*.shipped")), place.output, 60)

        store.leave(how)
        answered, backlog = during(place, traffic, AWAY_S)
        store.come_back(how)
        back = time.monotonic()
    wait_for(lambda: gauge(place, "kedge_spool_segments") == 0, place.output, 240)
    caught_up_s = time.monotonic() - back
    place.running[0].terminate()
    place.running[0].wait(60)
    place.running[1].terminate()
    place.running[1].wait(120)

    print(
        f"\n{answered} answered while away, {backlog[0]:.0f} → {backlog[1]:.0f} bytes wait, "
        f"shipped {caught_up_s:.1f} s after it was back"
    )
    assert answered > 10
    assert backlog[1] > backlog[0]
    assert (traffic.refused, traffic.broken) == ([], [])
    check_the_books(place, traffic)


def during(place: Place, traffic: Traffic, seconds: float) -> tuple[int, tuple[float, float]]:
    """How many answers were given meanwhile, and the backlog at the beginning and at the end."""
    answered, bytes_before = len(traffic.answered), gauge(place, "kedge_spool_bytes")
    time.sleep(seconds)
    return len(traffic.answered) - answered, (bytes_before, gauge(place, "kedge_spool_bytes"))


def gauge(place: Place, name: str) -> float:
    lines = httpx.get(f"{place.url}/metrics", timeout=30).text.splitlines()
    return float(next(line for line in lines if line.startswith(f"{name} ")).split()[1])


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _end(connection: socket.socket) -> None:
    with contextlib.suppress(OSError):
        connection.shutdown(socket.SHUT_RDWR)
    connection.close()
