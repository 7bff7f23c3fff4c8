import pytest
import sqlalchemy as sa

from infra import schema
from infra.database import writing
from infra.ledger import Ledger, append_within

APPEND = """
import sys
from infra.database import open_database
from infra.ledger import Ledger
ledger = Ledger(open_database(sys.argv[1]))
for number in range(15):
    ledger.append("models", "seen", {"by": sys.argv[2], "number": number})
"""

TABLE = schema.ledger


@pytest.fixture
def ledger(engine):
    return Ledger(engine)


@pytest.fixture
def filled(ledger):
    for number in range(1, 6):
        ledger.append("models", "seen", {"number": number})
    return ledger


def change(ledger, statement):
    with writing(ledger.engine) as connection:
        assert connection.execute(statement).rowcount >= 1


def row(sequence, stream="models"):
    return (TABLE.c.stream == stream) & (TABLE.c.sequence == sequence)


def test_rows_come_back_in_order_with_what_was_said(ledger):
    facts = {"class": "Grüße", "recall": 0.1 + 0.2, "labels": [1, None, True], "nested": {"b": 1, "a": 2}}
    ledger.append("models", "registered", facts)
    ledger.append("models", "promoted", {}, actor="ada")

    first, second = ledger.rows("models")

    assert (first.sequence, first.kind, first.actor, first.facts) == (1, "registered", "kedge", facts)
    assert (second.sequence, second.kind, second.actor, second.facts) == (2, "promoted", "ada", {})
    assert second.previous_hash == first.hash
    assert ledger.verify("models") is None


def test_what_append_gives_back_is_what_a_reader_finds(ledger):
    given = ledger.append("models", "seen", {"pair": (1, 2), 3: "a number as a key"})

    assert ledger.rows("models") == (given,)
    assert given.facts == {"pair": [1, 2], "3": "a number as a key"}


def test_only_the_newest_rows_on_request(filled):
    assert [each.sequence for each in filled.rows("models", last=2)] == [4, 5]
    assert len(filled.rows("models")) == 5


def test_the_newest_rows_of_all_streams_come_in_the_order_of_time(filled):
    filled.append("jobs", "asked", {"job": "j-1"})
    filled.append("models", "promoted", {"version": 6})

    assert [each.reference for each in filled.newest(3)] == ["models#5", "jobs#1", "models#6"]


def test_rows_are_found_by_what_they_mention(filled):
    filled.append("models", "promoted", {"number": 3, "version": None})
    filled.append("models", "put back", {"number": "three"})
    filled.append("jobs", "asked", {"number": 3})

    assert [each.reference for each in filled.mentioning("models", "number", 3)] == ["models#3", "models#6"]
    assert filled.mentioning("models", "nothing of the kind", 3) == ()


def test_a_long_stream_is_walked_page_by_page(filled, monkeypatch):
    monkeypatch.setattr("infra.ledger._PAGE_ROWS", 2)

    assert tuple(filled.walk("models")) == filled.rows("models")
    assert filled.verify("models") is None


def test_streams_count_each_for_itself(filled):
    other = filled.append("verdicts", "nothing", {})

    assert other.sequence == 1
    assert filled.verify("verdicts") is None
    assert filled.verify("never written") is None


@pytest.mark.parametrize(
    "changed",
    [{"facts": {"number": 99}}, {"actor": "somebody else"}, {"kind": "promoted"}, {"hash": "0" * 64}],
    ids=lambda changed: next(iter(changed)),
)
def test_a_changed_row_is_found(filled, changed):
    change(filled, TABLE.update().where(row(3)).values(**changed))

    assert filled.verify("models") == 3


def test_a_row_forged_with_a_fitting_hash_breaks_the_one_after_it(filled):
    # Whoever knows the recipe can make row 3 agree with itself, but row 4 was sealed over the old one.
    with writing(filled.engine) as connection:
        forged = append_within(connection, "forgery", "seen", {"number": 99})
    change(filled, TABLE.update().where(row(3)).values(hash=forged.hash, facts=dict(forged.facts)))

    assert filled.verify("models") == 3


def test_a_row_taken_from_the_middle_is_missed(filled):
    change(filled, TABLE.delete().where(row(3)))

    assert filled.verify("models") == 3


def test_a_gap_that_was_closed_by_counting_anew_is_found(filled):
    change(filled, TABLE.delete().where(row(3)))
    change(filled, TABLE.update().where(row(4)).values(sequence=3))
    change(filled, TABLE.update().where(row(5)).values(sequence=4))

    assert filled.verify("models") == 3


def test_facts_that_are_not_plain_json_are_refused_and_nothing_is_written(ledger):
    for facts in ({"recall": float("nan")}, {"when": object()}):
        with pytest.raises((ValueError, TypeError)):
            ledger.append("models", "seen", facts)

    assert ledger.rows("models") == ()


def test_a_row_within_an_undone_transaction_leaves_no_gap(ledger):
    def deed_that_fails():
        with writing(ledger.engine) as connection:
            append_within(connection, "models", "promoted", {})
            connection.execute(sa.text("select * from no_such_table"))

    with pytest.raises(sa.exc.DBAPIError):
        deed_that_fails()
    ledger.append("models", "seen", {})

    assert [(each.sequence, each.kind) for each in ledger.rows("models")] == [(1, "seen")]
    assert ledger.verify("models") is None


@pytest.mark.slow
def test_processes_that_append_at_once_leave_one_chain_without_a_gap(ledger, database_url, at_once):
    at_once(APPEND, *[[database_url, name] for name in ("a", "b", "c")])

    rows = ledger.rows("models")
    assert [each.sequence for each in rows] == list(range(1, 46))
    assert ledger.verify("models") is None
    for name in ("a", "b", "c"):
        assert [each.facts["number"] for each in rows if each.facts["by"] == name] == list(range(15))
