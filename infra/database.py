"""The relational database: SQLite by default, Postgres for a team, chosen by URL."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from alembic import command
from alembic.config import Config
from alembic.util import CommandError
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, NoSuchModuleError, OperationalError

from infra.errors import UserError

_MIGRATIONS = Path(__file__).parent / "migrations"
_BUSY_MS = 30_000
# What a caller that wants to wait for the database to come back has to catch.
DatabaseUnreachable = (OperationalError, InterfaceError)


def open_database(url: str) -> sa.Engine:
    """
    Connect and bring the schema up to date; any number of processes may do so at once.

    Raises:
        UserError: the database cannot be reached or is no database, its folder cannot be written, its URL names
            nothing we know, or a newer Kedge has already brought its schema further.
    """
    try:
        engine = connect(url)
    except (ArgumentError, NoSuchModuleError, ModuleNotFoundError) as error:
        # The URL itself is not shown: one that cannot be read may hold a password anywhere.
        raise UserError(
            f"storage.database is not an address we can use: {str(error).replace(url, '***')}. Expected "
            "'sqlite:////folder/kedge.db' or 'postgresql+psycopg://user@host/db' (pip install 'kedge[postgres]')."
        ) from error
    except OSError as error:
        raise UserError(_cannot_open(url, str(error))) from error
    try:
        migrate(engine)
    except DBAPIError as error:
        engine.dispose()
        raise UserError(_cannot_open(url, str(error.orig).strip())) from error
    except CommandError as error:
        engine.dispose()
        raise UserError(f"{_cannot_open(url, str(error))} A newer Kedge may have used it: install that one.") from error
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
    options: dict[str, Any] = {"kedge_writing": True}
    if engine.dialect.name == "postgresql":
        # A snapshot taken before the lock was ours would not show what its last holder wrote.
        options["isolation_level"] = "READ COMMITTED"
    with engine.connect().execution_options(**options) as connection, connection.begin():
        if engine.dialect.name == "postgresql":
            connection.execute(sa.text("select pg_advisory_xact_lock(7254031)"))
        yield connection


@contextlib.contextmanager
def reading(engine: sa.Engine) -> Iterator[sa.Connection]:
    """A consistent read of several rows: all statements inside see one and the same moment."""
    options = {"isolation_level": "REPEATABLE READ"} if engine.dialect.name == "postgresql" else {}
    with engine.connect().execution_options(**options) as connection, connection.begin():
        yield connection


def migrate(engine: sa.Engine) -> None:
    """Bring the schema to the newest revision, under the write lock: the second process finds nothing to do."""
    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    with writing(engine) as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")


def _cannot_open(url: str, reason: str) -> str:
    shown = sa.make_url(url).render_as_string(hide_password=True)
    return (
        f"The database {shown} cannot be opened: {reason}. "
        "Expected a reachable server or a writable folder; set storage.database in kedge.toml."
    )


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    # The driver's own BEGIN is turned off, because it begins too late to be serialised (see _begin_sqlite).
    connection.isolation_level = None
    for pragma in (f"busy_timeout={_BUSY_MS}", "journal_mode=WAL", "synchronous=NORMAL", "foreign_keys=ON"):
        connection.execute(f"PRAGMA {pragma}")


def _begin_sqlite(connection: sa.Connection) -> None:
    writing_now = connection.get_execution_options().get("kedge_writing", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writing_now else "BEGIN")
