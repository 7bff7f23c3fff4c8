"""`kedge ledger`: shown, proved, exported; what a person reads where it was tampered with, and the exit codes."""

import json
import shutil

import pytest

from flows import tidying
from flows.tidying import tidy
from infra import schema
from infra.database import writing
from infra.ledger_heads import exports
from tests.flows.test_forget import Silent

TABLE = schema.ledger


@pytest.fixture(autouse=True)
def filled(place):
    for number in range(1, 4):
        place.ledger.append("models", "registered", {"version": number, "reason": "test"})
    place.ledger.append("jobs", "asked", {"job": "j-1", "reason": "[bold]harm[/]"}, actor="ada")


def cut_off(place, stream, after):
    with writing(place.engine) as connection:
        connection.execute(TABLE.delete().where(TABLE.c.stream == stream, TABLE.c.sequence > after))


def test_the_newest_rows_of_all_streams_are_shown_as_they_are(kedge):
    code, out, _ = kedge("ledger", "show", "--last", "2")

    assert code == 0
    assert "models#3" in out
    assert "models#2" not in out
    assert "job j-1, reason [bold]harm[/]" in out


def test_one_stream_is_shown_as_json(kedge, place):
    _, out, _ = kedge("ledger", "show", "--stream", "models", "--json")

    rows = json.loads(out)
    assert [(row["sequence"], row["facts"]["version"]) for row in rows] == [(1, 1), (2, 2), (3, 3)]
    assert rows[2]["hash"] == place.ledger.rows("models")[2].hash


def test_a_stream_that_is_not_there_is_told_with_those_that_are(kedge):
    code, _, err = kedge("ledger", "show", "--stream", "model")

    assert code == 1
    assert "The ledger has no stream 'model'; there are: jobs, models." in err


def test_a_whole_ledger_is_proved(kedge):
    before = kedge("ledger", "verify")
    kedge("ledger", "export")

    code, out, err = kedge("ledger", "verify")

    assert (before[0], code, err) == (0, 0, "")
    assert "No export to hold it against yet" in before[1]
    assert "Held against one export" in out
    assert "The ledger is whole: 5 rows." in out


def test_an_end_that_was_cut_off_ends_with_one_and_says_which(kedge, place):
    kedge("ledger", "export")
    cut_off(place, "models", 1)

    code, out, err = kedge("ledger", "verify")

    assert code == 1
    assert "models" in out
    assert "broken" in out
    assert "The ledger is broken: models ends at row 1, but export 1 of" in err
    assert "saw 3: its end was cut off." in err


def test_the_same_as_json_names_every_break(kedge, place):
    kedge("ledger", "export")
    cut_off(place, "models", 1)

    code, out, _ = kedge("ledger", "verify", "--json")

    streams = {one["stream"]: one for one in json.loads(out)["streams"]}
    assert code == 1
    assert [one["sequence"] for one in streams["models"]["breaks"]] == [2]
    assert streams["jobs"]["breaks"] == []


def test_a_copy_kept_elsewhere_proves_it_when_the_store_was_emptied(kedge, place, tmp_path):
    code, out, _ = kedge("ledger", "export", "--to", str(tmp_path / "audit"))
    (kept,) = (tmp_path / "audit").glob("*.json")
    assert code == 0
    assert str(kept) in out
    assert "models: 3 rows" in kept.with_suffix(".txt").read_text()
    shutil.rmtree(place.objects.folder / "ledger")
    cut_off(place, "models", 1)
    cut_off(place, "heads", 0)

    silent = kedge("ledger", "verify")
    code, _, err = kedge("ledger", "verify", "--heads", str(kept))

    assert silent[0] == 0
    assert code == 1
    assert "models ends at row 1" in err


def test_a_file_that_is_not_there_is_told(kedge):
    code, _, err = kedge("ledger", "verify", "--heads", "nowhere.json")

    assert code == 1
    assert "nowhere.json is not there. Expected a file that `kedge ledger export --to FOLDER` wrote." in err


def test_a_broken_ledger_is_exported_only_with_a_reason(kedge, place):
    kedge("ledger", "export")
    cut_off(place, "models", 1)

    refused, _, err = kedge("ledger", "export")
    allowed, _, _ = kedge("ledger", "export", "--begins-anew", "the backup of Sunday")
    proved, out, _ = kedge("ledger", "verify")

    assert (refused, allowed, proved) == (1, 0, 0)
    assert "`kedge ledger export --begins-anew" in err
    assert "began anew: the backup of Sunday" in out


def test_tidying_exports_the_heads_every_time_it_runs(place):
    before = tidy(place, Silent(), dry_run=True)
    done = tidy(place, Silent())

    assert before.ledger == ""
    (made,) = exports(place.objects)
    assert done.ledger == f"ledger: whole, {made.rows + 1} rows; {made.title} is in the object store"
    assert done.words()[-1] == done.ledger


def test_tidying_tells_of_a_broken_ledger_and_exports_nothing(place, monkeypatch):
    told = []
    monkeypatch.setattr(tidying, "notify", lambda settings, kind, words: told.append((kind, words)))
    tidy(place, Silent())
    cut_off(place, "models", 1)

    done = tidy(place, Silent())

    assert len(exports(place.objects)) == 1
    assert done.ledger.startswith("The ledger is broken: models ends at row 1")
    assert told == [("ledger_broken", done.ledger)]
