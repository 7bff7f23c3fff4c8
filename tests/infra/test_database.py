from pathlib import Path

import pytest
import sqlalchemy as sa
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory

from infra import database, schema
from infra.clock import now
from infra.database import open_database, reading, writing
from infra.errors import UserError

# Reads a number, waits, writes it plus one: two that overlap would lose one.
COUNT_UP = """
import sys, time
import sqlalchemy as sa
from infra import schema
from infra.database import open_database, writing
engine = open_database(sys.argv[1])
value = schema.keys.c.value
for _ in range(20):
    with writing(engine) as connection:
        found = int(connection.execute(sa.select(value).where(schema.keys.c.name == "count")).scalar_one())
        time.sleep(0.001)
        connection.execute(schema.keys.update().where(schema.keys.c.name == "count").values(value=str(found + 1)))
"""

OPEN = """
import sys
from infra.database import open_database
open_database(sys.argv[1])
"""


def put(engine, name, value):
    with writing(engine) as connection:
        connection.execute(schema.keys.insert().values(name=name, value=value))


def values(connection):
    return sorted(connection.execute(sa.select(schema.keys.c.value)).scalars())


@pytest.mark.slow
def test_writers_in_several_processes_never_lose_an_update(engine, database_url, at_once):
    put(engine, "count", "0")

    at_once(COUNT_UP, *[[database_url]] * 3)

    with reading(engine) as connection:
        assert values(connection) == ["60"]


@pytest.mark.slow
def test_several_processes_that_open_a_new_database_at_once_all_find_it_ready(database_url, at_once):
    at_once(OPEN, *[[database_url]] * 3)

    engine = open_database(database_url)
    with reading(engine) as connection:
        assert connection.execute(sa.text("select count(*) from alembic_version")).scalar() == 1
        assert values(connection) == []
    engine.dispose()


def test_the_migrations_make_exactly_the_tables_of_the_schema(engine):
    with reading(engine) as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})

        assert compare_metadata(context, schema.metadata) == []


def test_the_schema_names_its_newest_migration():
    # Otherwise a database could be taken for finished that is not.
    migrations = ScriptDirectory(str(Path(database.__file__).parent / "migrations"))

    assert migrations.get_current_head() == schema.REVISION


def test_a_database_that_is_up_to_date_opens_while_somebody_writes(engine, database_url):
    with writing(engine):
        second = open_database(database_url)

        with reading(second) as connection:
            assert values(connection) == []
    second.dispose()


def test_an_exception_undoes_the_whole_transaction(engine):
    def put_the_same_name_twice():
        with writing(engine) as connection:
            connection.execute(schema.keys.insert().values(name="a", value="1"))
            connection.execute(schema.keys.insert().values(name="a", value="2"))

    with pytest.raises(sa.exc.IntegrityError):
        put_the_same_name_twice()

    with reading(engine) as connection:
        assert values(connection) == []


def test_everything_read_together_is_from_one_moment(engine):
    put(engine, "a", "1")

    with reading(engine) as connection:
        before = values(connection)
        put(engine, "b", "2")
        after = values(connection)

    assert before == after == ["1"]


def test_a_time_comes_back_as_it_was_stored_and_aware(engine):
    at = now()
    with writing(engine) as connection:
        connection.execute(schema.heartbeats.insert().values(process="watch", at=at, pid=1))

    with reading(engine) as connection:
        found = connection.execute(sa.select(schema.heartbeats.c.at)).scalar_one()

    assert found == at
    assert found.tzinfo is not None


def test_a_time_without_a_zone_is_refused(engine):
    with pytest.raises(sa.exc.StatementError, match="has no time zone; every time in the database is UTC"):  # noqa: SIM117
        with writing(engine) as connection:
            connection.execute(schema.heartbeats.insert().values(process="watch", at=now().replace(tzinfo=None), pid=1))


def test_a_folder_with_a_difficult_name_holds_a_database(tmp_path):
    folder = tmp_path / "100 % of Müller's #1"

    engine = open_database(f"sqlite:///{folder / 'kedge.db'}")
    put(engine, "a", "1")
    engine.dispose()

    assert (folder / "kedge.db").exists()


def test_a_file_that_is_no_database_is_named_and_left_as_it_is(tmp_path):
    path = tmp_path / "kedge.db"
    path.write_text("Dear diary, today I was mistaken for a database. " * 30)
    before = path.read_bytes()

    with pytest.raises(UserError) as refusal:
        open_database(f"sqlite:///{path}")

    assert str(refusal.value) == (
        f"The database sqlite:///{path} cannot be opened: file is not a database. "
        "Expected a reachable server or a writable folder; set storage.database in kedge.toml."
    )
    assert path.read_bytes() == before


def test_a_folder_that_cannot_be_made_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")

    with pytest.raises(UserError) as refusal:
        open_database(f"sqlite:///{tmp_path}/file/kedge.db")

    assert str(refusal.value).startswith(f"The database sqlite:///{tmp_path}/file/kedge.db cannot be opened: ")
    assert str(refusal.value).endswith("set storage.database in kedge.toml.")


@pytest.mark.parametrize(
    "url", ["kedge.db", "postgres://user:secret@host/db", "postgresql+nothing://user:secret@host/db"]
)
def test_an_address_that_names_no_database_is_explained_without_its_password(url):
    with pytest.raises(UserError) as refusal:
        open_database(url)

    assert str(refusal.value).startswith("storage.database is not an address we can use: ")
    assert str(refusal.value).endswith(
        "Expected 'sqlite:////folder/kedge.db' or 'postgresql+psycopg://user@host/db' (pip install 'kedge[postgres]')."
    )
    assert "secret" not in str(refusal.value)


def test_a_server_that_does_not_answer_is_named_without_its_password():
    pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'kedge[postgres]'")

    with pytest.raises(UserError) as refusal:
        open_database("postgresql+psycopg://kedge:secret@127.0.0.1:1/kedge")

    assert str(refusal.value).startswith(
        "The database postgresql+psycopg://kedge:***@127.0.0.1:1/kedge cannot be opened"
    )
    assert "secret" not in str(refusal.value)


def test_a_database_of_a_newer_kedge_is_left_alone(engine, database_url):
    with writing(engine) as connection:
        connection.execute(sa.text("update alembic_version set version_num = '9999'"))

    with pytest.raises(UserError, match=r"A newer Kedge may have used it: install that one\.$"):
        open_database(database_url)
