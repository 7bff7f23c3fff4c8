"""Real databases for the tests: a fresh SQLite file, and a fresh database on a throw-away Postgres server."""

import os
import pwd
import shutil
import socket
import subprocess
import sys
import tempfile
import uuid
from pathlib import Path

import pytest
import sqlalchemy as sa

from infra.database import open_database


@pytest.fixture(params=["sqlite", "postgres"])
def database_url(request, tmp_path):
    """The URL of an empty database."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'kedge.db'}"
    server = request.getfixturevalue("postgres_server")
    name = f"test_{uuid.uuid4().hex[:12]}"
    engine = sa.create_engine(f"{server}/postgres", isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        connection.execute(sa.text(f"create database {name}"))
    engine.dispose()
    return f"{server}/{name}"


@pytest.fixture
def engine(database_url):
    """A migrated database."""
    engine = open_database(database_url)
    yield engine
    engine.dispose()


@pytest.fixture(scope="session")
def postgres_server():
    """A Postgres server of its own on a free port, or a skip that says what is missing."""
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'kedge[postgres]'")
    binaries = _postgres_binaries()
    folder = Path(tempfile.mkdtemp(prefix="kedge-postgres-"))
    as_owner = _give_away(folder)
    port = free_port()
    options = f"-p {port} -k '' -c listen_addresses=127.0.0.1 -c fsync=off"
    control = [*as_owner, str(binaries / "pg_ctl"), "-D", str(folder / "data"), "-w"]
    try:
        _run(*as_owner, str(binaries / "initdb"), "-D", str(folder / "data"), "-U", "kedge", "-A", "trust",
             "-E", "UTF8", "--locale=C", "--no-sync")  # fmt: skip
        _run(*control, "-o", options, "-l", str(folder / "log"), "start")
        yield f"postgresql+psycopg://kedge@127.0.0.1:{port}"
        _run(*control, "-m", "immediate", "stop")
    finally:
        shutil.rmtree(folder)


@pytest.fixture
def at_once():
    """Run one script in several processes at once; gives back what each wrote to standard output."""

    def run(script, *argument_lists):
        children = [
            subprocess.Popen(
                [sys.executable, "-P", "-c", script, *map(str, arguments)],
                stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            )
            for arguments in argument_lists
        ]  # fmt: skip
        told = [child.communicate(timeout=120) for child in children]
        for child, (_, complaint) in zip(children, told, strict=True):
            assert child.returncode == 0, complaint
        return [answer.strip() for answer, _ in told]

    return run


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _postgres_binaries():
    on_path = shutil.which("initdb")
    found = [Path(on_path).resolve().parent] if on_path else []
    found += [path.parent for path in sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"), reverse=True)]
    if not found:
        pytest.skip("no Postgres server on this machine: initdb is neither on PATH nor in /usr/lib/postgresql")
    return found[0]


def _give_away(folder):
    """Postgres refuses to run as root; the folder then belongs to the user `postgres`, who starts it."""
    if os.geteuid() != 0:
        return []
    try:
        owner = pwd.getpwnam("postgres")
    except KeyError:
        pytest.skip("Postgres does not run as root, and there is no user postgres")
    if shutil.which("runuser") is None:
        pytest.skip("Postgres does not run as root, and runuser is missing")
    os.chown(folder, owner.pw_uid, owner.pw_gid)
    return ["runuser", "-u", "postgres", "--"]


def _run(*command):
    # What the server writes goes to a file: a pipe would stay open as long as it runs.
    subprocess.run(command, check=True, cwd="/", stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=120)
