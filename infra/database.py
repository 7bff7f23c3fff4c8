"""The relational database: SQLite by default, Postgres for a team, chosen by URL."""

import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import ArgumentError, DBAPIError, InterfaceError, NoSuchModuleError, OperationalError

from infra import schema
from infra.errors import UserError

_MIGRATIONS = Path(__file__).parent / "migrations"
_REVISIONS = "alembic_version"  # Alembic's own table
_BUSY_MS = 30_000
# A server that falls silent – packets dropped, a machine gone – is an error after half a minute, not after the hours
# that TCP waits by itself: watcher, jobs and the workers' look at the pointer then try again. Only the connection is
# watched: a statement may take as long as it takes. libpq's names, so that the URL's query can say otherwise.
_SILENCE = {
    "connect_timeout": 10,  # s, for each address of the server's name
    "keepalives_idle": 10,  # s without a packet, then one is asked for …
    "keepalives_interval": 5,  # … every so many s …
    "keepalives_count": 3,  # … and after so many without an answer the connection is dead: 10 + 3 × 5 = 25 s
    "tcp_user_timeout": 25_000,  # ms until what was sent has to be acknowledged: the same 25 s while there is traffic
}
_LIBPQ = {"psycopg", "psycopg2"}
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
    except UserError:
        engine.dispose()
        raise
    return engine


def connect(url: str) -> sa.Engine:
    """
    An engine without touching the schema.

    SQLite gets write-ahead logging and a long busy wait; Postgres notices within half a minute that it is gone.
    """
    parsed = sa.make_url(url)
    if parsed.get_backend_name() != "sqlite":
        return sa.create_engine(parsed, pool_pre_ping=True, connect_args=_impatience(parsed))
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
    """
    Bring the schema to the newest revision, under the write lock: the second process finds nothing to do.

    Raises:
        UserError: a newer Kedge has already brought it further.
    """
    # Nearly always it is there: then neither the lock is waited for nor Alembic, which takes long to load.
    if _revision(engine) == schema.REVISION:
        return
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(_MIGRATIONS).replace("%", "%%"))
    try:
        with writing(engine) as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
    except CommandError as error:
        reason = _cannot_open(engine.url, str(error))
        raise UserError(f"{reason} A newer Kedge may have used it: install that one.") from error


def _revision(engine: sa.Engine) -> str | None:
    """The schema's revision; None in a database that has none yet."""
    with reading(engine) as connection:
        if not sa.inspect(connection).has_table(_REVISIONS):
            return None
        return connection.execute(sa.text(f"select version_num from {_REVISIONS}")).scalar()  # noqa: S608 - a constant


def _impatience(url: sa.URL) -> dict[str, Any]:
    """How long to bear a silent server, save what the URL itself says."""
    if url.get_driver_name() not in _LIBPQ:
        return {}
    return {name: value for name, value in _SILENCE.items() if name not in url.query}


def _cannot_open(url: str | sa.URL, reason: str) -> str:
    shown = sa.make_url(url).render_as_string(hide_password=True)
    return (
        f"The database {shown} cannot be opened: {reason.rstrip('.?! ')}. "
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
