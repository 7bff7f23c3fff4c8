"""A database that takes a connection and then says nothing: waited for some seconds, never for good."""

import contextlib
import socket
import threading

import pytest
import sqlalchemy as sa

from infra.database import connect, open_database
from infra.errors import UserError

pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'kedge[postgres]'")
PATIENCE_S = 60  # far beyond every limit here, far below what TCP waits by itself


@pytest.fixture
def silent_server():
    """The port of a server that accepts and never answers."""
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        listening.listen()
        yield listening.getsockname()[1]


@pytest.mark.slow
def test_a_silent_server_is_an_error_in_words(silent_server):
    refusal = told_in_time(lambda: open_database(f"postgresql+psycopg://kedge:secret@127.0.0.1:{silent_server}/kedge"))

    assert isinstance(refusal, UserError)
    assert str(refusal).startswith(
        f"The database postgresql+psycopg://kedge:***@127.0.0.1:{silent_server}/kedge cannot be opened: "
    )
    assert "timeout expired" in str(refusal)
    assert "Expected a reachable server" in str(refusal)


def test_the_address_may_have_another_patience(silent_server):
    # With the ten seconds of our own it would still be waiting when the clock of the one in the address has run out.
    address = f"postgresql+psycopg://kedge@127.0.0.1:{silent_server}/kedge?connect_timeout=2"

    _, given = arguments(connect(address))

    assert given["connect_timeout"] == "2"
    assert isinstance(told_in_time(lambda: open_database(address)), UserError)


def test_what_the_address_says_goes_before_what_we_say():
    address = "postgresql+psycopg://kedge@127.0.0.1/kedge?tcp_user_timeout=0&keepalives_idle=600"

    _, given = arguments(connect(address))

    assert (given["tcp_user_timeout"], given["keepalives_idle"]) == ("0", "600")
    assert (given["connect_timeout"], given["keepalives_interval"], given["keepalives_count"]) == (10, 5, 3)


@pytest.mark.parametrize("database_url", ["postgres"], indirect=True)
def test_a_connection_watches_over_its_server(database_url):
    engine = connect(database_url)

    with engine.connect() as connection, socket.socket(fileno=connection.connection.fileno()) as line:
        idle, interval, count = (
            line.getsockopt(socket.IPPROTO_TCP, option)
            for option in (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT)
        )
        kept_alive = line.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        unanswered_ms = line.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT)
        line.detach()

    assert kept_alive
    assert idle + interval * count == unanswered_ms / 1000 == 25
    engine.dispose()


def arguments(engine):
    """What the driver is called with."""
    heard = {}

    def listen(_dialect, _record, positional, named):
        heard.update(positional=positional, named=dict(named))
        raise ConnectionAbortedError

    sa.event.listen(engine, "do_connect", listen)
    with contextlib.suppress(ConnectionAbortedError):
        engine.connect()
    return heard["positional"], heard["named"]


def told_in_time(deed):
    """The error of a deed that has to end."""
    raised = []

    def run():
        try:
            deed()
        except UserError as error:
            raised.append(error)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    thread.join(PATIENCE_S)
    assert not thread.is_alive(), "it still waits for a server that says nothing"
    return raised[0]
