"""The relational database: SQLite by default, Postgres for a team, chosen by URL."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from sqlalchemy.exc import OperationalError

from infra.errors import UserError

_MIGRATIONS = Path(__file__).parent / "migrations"
_BUSY_MS = 30_000


def open_database(url: str) -> sa.Engine:
    """
    Connect and bring the schema up to date; any number of processes may do so at once.

    Raises:
        UserError: the database cannot be reached, or its folder cannot be written.
    """
    engine = connect(url)
    try:
        migrate(engine)
    except OperationalError as error:
        shown = engine.url.render_as_string(hide_password=True)
        raise UserError(
            f"The database {shown} cannot be opened: {error.orig}. "
            "Expected a reachable server or a writable folder; set storage.database in kedge.toml."
        ) from error
    return engine


def connect(url: str) -> sa.Engine:
    """An engine without touching the schema; SQLite gets write-ahead logging and a long busy wait."""
    parsed = sa.make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return sa.create_engine(parsed, pool_pre_ping=True)
    if parsed.database and parsed.database != ":memory:":
        Path(parsed.database).parent.mkdir(parents=True, exist_ok=True)
    engine = sa.create_engine(parsed)
    sa.event.listen(engine, "connect", _prepare_sqlite)
    sa.event.listen(engine, "begin", _begin_sqlite)
    return engine


@contextlib.contextmanager
def writing(engine: sa.Engine) -> Iterator[sa.Connection]:
    """
    One serialised write transaction: committed at the end, undone on an exception.

    SQLite takes its single write lock at the start, so a read-then-write inside never meets a stale read.
    Postgres takes an advisory lock for the same promise; our writes are few and short.
    """
    with engine.connect().execution_options(kedge_writing=True) as connection, connection.begin():
        if engine.dialect.name == "postgresql":
            connection.execute(sa.text("select pg_advisory_xact_lock(7254031)"))
        yield connection


@contextlib.contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A consistent read of several rows."""
    with engine.connect() as connection, connection.begin():
        yield connection


def migrate(engine: sa.Engine) -> None:
    """Bring the schema to the newest revision, under the write lock: the second process finds nothing to do."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS))
    with writing(engine) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # The driver's own BEGIN is turned off, because it begins too late to be serialised (see _begin_sqlite).
    connection.isolation_level = None
    for pragma in ("journal_mode=WAL", f"busy_timeout={_BUSY_MS}", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: sa.Connection) -> None:
    writing_now = connection.get_execution_options().get("kedge_writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing_now else "BEGIN")
