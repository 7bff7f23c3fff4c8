"""Requests to be forgotten: named while they are open, nobody's afterwards."""

import sqlite3
from pathlib import Path

import pytest
import sqlalchemy as sa

from infra.database import open_database
from infra.forgettings import (
    DONE,
    all_forgettings,
    ask_to_forget,
    finish_forgetting,
    ids_to_forget,
    note_step,
    open_forgettings,
    pseudonym,
)
from infra.ledger import Ledger


def test_a_request_is_written_down_once_while_it_is_open(engine):
    first, again = ask_to_forget(engine, "it's me", "ada"), ask_to_forget(engine, "it's me", "bob")

    assert first == again
    assert ids_to_forget(engine) == {"it's me"}
    assert [one.id for one in open_forgettings(engine)] == [first.id]


def test_what_was_done_is_known_to_whoever_goes_on(engine):
    asked = ask_to_forget(engine, "a", "ada")
    note_step(engine, asked.id, "spool", {"segments": 3})
    note_step(engine, asked.id, "rows", {"predictions": 1})

    (found,) = open_forgettings(engine)

    assert found.steps == {"spool": {"segments": 3}, "rows": {"predictions": 1}}


def test_a_finished_request_names_nobody_and_can_be_linked_by_nobody(engine):
    asked = ask_to_forget(engine, "a-person", "ada")
    assert asked.pseudonym == pseudonym("a-person", asked.pseudonym_key)

    done = finish_forgetting(engine, asked.id, {"rows": 2}, "ada")
    again = finish_forgetting(engine, asked.id, {"rows": 2}, "ada")

    assert (done.state, done.prediction_id, done.pseudonym_key) == (DONE, None, None)
    assert again == done
    assert ids_to_forget(engine) == set()
    rows = Ledger(engine).rows("keeping")
    assert [row.kind for row in rows] == ["asked to forget", "forgotten"]
    assert all("a-person" not in str(row) for row in rows)
    assert rows[-1].facts == {"pseudonym": asked.pseudonym, "rows": 2}
    assert Ledger(engine).verify("keeping") is None


def test_the_same_id_asked_for_again_has_another_pseudonym(engine):
    first = ask_to_forget(engine, "a", "ada")
    finish_forgetting(engine, first.id, {}, "ada")

    second = ask_to_forget(engine, "a", "ada")

    assert second.pseudonym != first.pseudonym
    assert {one.id for one in all_forgettings(engine)} == {first.id, second.id}


@pytest.mark.parametrize("steps", [1, 40])
def test_sqlite_keeps_neither_the_id_nor_what_was_noted_in_its_files(tmp_path: Path, steps):
    engine = open_database(f"sqlite:///{tmp_path}/kedge.db")
    engine.dispose()
    # Some builds of SQLite write over what was deleted by themselves; this one must not count on it.
    sa.event.listen(engine, "connect", lambda raw, _: raw.execute("PRAGMA secure_delete = OFF"))
    asked = ask_to_forget(engine, "the-person-to-forget", "ada")
    for number in range(steps):
        note_step(engine, asked.id, f"step {number}", {"images": ["the-hash-to-forget" * 20]})
    key = str(asked.pseudonym_key).encode()
    before = b"".join(path.read_bytes() for path in tmp_path.iterdir())

    finish_forgetting(engine, asked.id, {}, "ada")

    after = b"".join(path.read_bytes() for path in tmp_path.iterdir())
    for secret in (b"the-person-to-forget", b"the-hash-to-forget", key):
        assert secret in before
        assert secret not in after
    engine.dispose()
    assert sqlite3.connect(tmp_path / "kedge.db").execute("pragma integrity_check").fetchone() == ("ok",)
