"""The heads of the ledger's streams, exported: what a chain cannot show by itself is found by them."""

import json

import pytest

from infra import schema
from infra.database import writing
from infra.errors import UserError
from infra.ledger import Ledger
from infra.ledger_check import LedgerBroken, check
from infra.ledger_heads import FOLDER, encoded, exports, exports_noted, read_export, write_export
from infra.objects import LocalObjects

TABLE = schema.ledger

# Appends to two streams and exports now and then, as several processes of one project do at once.
WORK = """
import sys
from pathlib import Path
from infra.database import open_database, writing
from infra.ledger import append_within
from infra.ledger_heads import write_export
from infra.objects import LocalObjects
engine, objects = open_database(sys.argv[1]), LocalObjects(Path(sys.argv[2]))
for number in range(20):
    with writing(engine) as connection:
        append_within(connection, "jobs", "asked", {"by": sys.argv[3], "number": number})
        append_within(connection, "models", "registered", {"by": sys.argv[3], "number": number})
    if number % 7 == 6:
        write_export(engine, objects, "digits", actor=sys.argv[3])
"""


@pytest.fixture
def ledger(engine):
    ledger = Ledger(engine)
    for number in range(1, 6):
        ledger.append("models", "registered", {"version": number})
    ledger.append("jobs", "asked", {"job": "j-1"})
    return ledger


@pytest.fixture
def objects(tmp_path):
    return LocalObjects(tmp_path / "objects")


def export(ledger, objects, **more):
    return write_export(ledger.engine, objects, "digits", **more)


def change(ledger, statement):
    with writing(ledger.engine) as connection:
        assert connection.execute(statement).rowcount >= 1


def cut_off(ledger, stream, after):
    change(ledger, TABLE.delete().where(TABLE.c.stream == stream, TABLE.c.sequence > after))


def words_of(ledger, objects, *elsewhere):
    return [one.words for one in check(ledger, objects, elsewhere).breaks]


def test_an_export_names_every_streams_newest_row_and_is_whole(ledger, objects):
    made = export(ledger, objects, actor="ada")

    assert {head.stream: head.rows for head in made.streams} == {"jobs": 1, "models": 5}
    assert made.streams[1].hash == ledger.rows("models")[-1].hash
    assert (made.number, made.previous, made.key) == (1, "", f"{FOLDER}{made.at:%Y-%m-%d}.json")
    assert exports(objects) == exports_noted(ledger.engine) == (made,)
    (row,) = ledger.rows("heads")
    assert (row.kind, row.actor, row.facts["sha256"]) == ("exported", "ada", made.sha256)
    found = check(ledger, objects)
    assert (found.breaks, found.rows) == ((), 7)
    assert [(one.stream, one.rows, one.exported_rows) for one in found.streams] == [
        ("heads", 1, 0), ("jobs", 1, 1), ("models", 5, 5)
    ]  # fmt: skip


def test_a_readable_copy_lies_beside_it(ledger, objects):
    made = export(ledger, objects)

    text = objects.get(made.key.removesuffix(".json") + ".txt").decode()

    assert f"models: 5 rows, the newest is {ledger.rows('models')[-1].hash}" in text
    assert f"This export is {made.sha256}" in text


def test_each_export_names_the_one_before_and_none_is_written_over(ledger, objects):
    made = [export(ledger, objects) for _ in range(3)]

    assert [one.number for one in made] == [1, 2, 3]
    assert [one.previous for one in made] == ["", made[0].sha256, made[1].sha256]
    assert len({one.key for one in made}) == 3
    assert exports(objects) == tuple(made)
    assert made[2].streams[0].rows == 2
    assert words_of(ledger, objects) == []


def test_an_end_that_was_cut_off_is_named_though_the_chain_holds(ledger, objects):
    made = export(ledger, objects)
    cut_off(ledger, "models", 3)

    assert ledger.verify("models") is None
    assert words_of(ledger, objects) == [f"models ends at row 3, but {made.title} saw 5: its end was cut off."]


def test_a_stream_that_was_taken_away_whole_is_named(ledger, objects):
    made = export(ledger, objects)
    cut_off(ledger, "jobs", 0)

    assert words_of(ledger, objects) == [f"jobs ends at row 0, but {made.title} saw 1: its end was cut off."]


def test_an_end_that_was_written_anew_is_named(ledger, objects):
    made = export(ledger, objects)
    cut_off(ledger, "models", 4)
    ledger.append("models", "registered", {"version": 99})
    ledger.append("models", "registered", {"version": 100})

    assert ledger.verify("models") is None
    assert words_of(ledger, objects) == [f"models#5 is not the row that {made.title} saw."]


def test_a_changed_and_a_missing_row_are_named(ledger, objects):
    change(ledger, TABLE.update().where(TABLE.c.stream == "jobs").values(actor="somebody else"))
    change(ledger, TABLE.delete().where(TABLE.c.stream == "models", TABLE.c.sequence.in_([2, 3])))

    first, second = words_of(ledger, objects)

    assert first.startswith("jobs#1 (asked, ")
    assert first.endswith("does not fit the row before it: one was changed.")
    assert second == "models#2 to #3 is missing."


def test_a_row_slipped_in_before_the_first_is_named(ledger, objects):
    row = vars(ledger.rows("jobs")[0])
    with writing(ledger.engine) as connection:
        connection.execute(TABLE.insert().values(**{**row, "sequence": 0}))

    assert [(one.stream, one.sequence) for one in check(ledger, objects).breaks] == [("jobs", 0)]


def test_an_export_that_was_taken_away_or_changed_is_named(ledger, objects):
    made = [export(ledger, objects) for _ in range(3)]
    objects.delete(made[1].key)
    missing = words_of(ledger, objects)
    forged = json.loads(encoded(made[1]))
    forged["streams"][1]["rows"] = 1
    objects.put(made[1].key, json.dumps(forged).encode())

    changed = words_of(ledger, objects)

    assert missing == [
        f"The export before {made[2].title} ({made[2].key}) is missing.",
        f"{made[1].title} ({made[1].key}) was exported, and is not there any more.",
    ]
    assert f"{made[2].title} ({made[2].key}) does not follow the one before it: one of them was changed." in changed


def test_exports_made_anew_behind_everybodys_back_are_found_by_a_copy_kept_elsewhere(ledger, objects, tmp_path):
    kept = encoded(export(ledger, objects))
    for key in list(objects.list(FOLDER)):
        objects.delete(key)
    for stream in ("heads", "models"):
        cut_off(ledger, stream, 0)
    export(ledger, objects)
    assert words_of(ledger, objects) == []

    copy = read_export("heads-of-november.json", kept)

    assert words_of(ledger, objects, copy) == [
        f"models ends at row 0, but {copy.title} saw 5: its end was cut off.",
        f"{copy.title}, as kept in heads-of-november.json, is not the one in the object store.",
    ]


def test_an_export_killed_before_it_reached_the_store_is_written_by_the_next(ledger, objects):
    made = export(ledger, objects)
    late = export(ledger, objects)
    for ending in (".json", ".txt"):
        objects.delete(late.key.removesuffix(".json") + ending)
    assert words_of(ledger, objects) == []

    after = export(ledger, objects)

    assert exports(objects) == (made, late, after)
    assert objects.exists(late.key.removesuffix(".json") + ".txt")


def test_after_a_backup_was_put_back_an_export_begins_anew_and_says_why(ledger, objects):
    export(ledger, objects)
    export(ledger, objects)
    cut_off(ledger, "heads", 1)
    cut_off(ledger, "models", 2)
    with pytest.raises(LedgerBroken, match=r"its end was cut off.*`kedge ledger export --begins-anew"):
        check(ledger, objects).insist()

    made = export(ledger, objects, begins_anew="the backup of Sunday")

    assert (made.number, made.begins_anew) == (3, "the backup of Sunday")
    found = check(ledger, objects)
    assert (found.breaks, [one.number for one in found.exports]) == ((), [3])
    cut_off(ledger, "models", 1)
    assert words_of(ledger, objects) == [f"models ends at row 1, but {made.title} saw 2: its end was cut off."]


def test_a_file_that_is_no_export_is_told(objects):
    with pytest.raises(
        UserError, match=r"notes.json is no export of the ledger's heads: .*`kedge ledger export` wrote"
    ):
        read_export("notes.json", b'{"number": 1}')


@pytest.mark.slow
def test_processes_that_append_and_export_at_once_leave_whole_chains(ledger, objects, database_url, at_once):
    at_once(WORK, *[[database_url, objects.folder, name] for name in ("a", "b", "c")])

    found = check(ledger, objects)

    assert found.breaks == ()
    assert {one.stream: one.rows for one in found.streams} == {"heads": 6, "jobs": 61, "models": 65}
    assert [one.number for one in found.exports] == list(range(1, 7))
    # Both rows of one deed were written in one transaction: the streams tell the same order.
    told = {
        stream: [(row.facts["by"], row.facts["number"]) for row in ledger.rows(stream) if "by" in row.facts]
        for stream in ("jobs", "models")
    }
    assert told["jobs"] == told["models"]
