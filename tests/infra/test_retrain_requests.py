import pytest

from infra.database import open_database, writing
from infra.ledger import Ledger
from infra.retrain_requests import answer_within, ask_for_retrain, retrain_request, waiting_within


@pytest.fixture
def engine(tmp_path):
    return open_database(f"sqlite:///{tmp_path / 'kedge.db'}")


def test_a_request_waits_until_it_is_answered_and_keeps_its_answer(engine):
    asked = ask_for_retrain(engine, "birds", "token-7", "a new camera hangs in the yard")
    assert retrain_request(engine, asked.id) == asked
    assert asked.state == "waiting"

    with writing(engine) as connection:
        (waiting,) = waiting_within(connection, "birds")
        answer_within(connection, waiting, "accepted", "A retrain starts.", "job-1")

    answered = retrain_request(engine, asked.id)
    assert (answered.state, answered.words, answered.job_id) == ("accepted", "A retrain starts.", "job-1")
    assert answered.decided_at >= asked.at
    with writing(engine) as connection:
        assert waiting_within(connection, "birds") == ()


def test_requests_of_another_model_are_not_answered_here(engine):
    ask_for_retrain(engine, "birds", "token-7", "first")
    ask_for_retrain(engine, "birds", "token-7", "second")
    ask_for_retrain(engine, "fish", "token-7", "third")

    with writing(engine) as connection:
        assert [one.reason for one in waiting_within(connection, "birds")] == ["first", "second"]


def test_what_was_asked_and_answered_is_in_the_ledger(engine):
    asked = ask_for_retrain(engine, "birds", "token-7", "new labels")
    with writing(engine) as connection:
        answer_within(connection, asked, "declined", "60 of 100 fresh labels.")

    rows = Ledger(engine).rows("retrain requests")

    assert [row.kind for row in rows] == ["asked", "declined"]
    assert rows[0].facts == {"request": asked.id, "by": "token-7", "reason": "new labels"}
    assert rows[1].facts == {"request": asked.id, "words": "60 of 100 fresh labels.", "job": None}


def test_there_is_no_request_of_an_unknown_id(engine):
    assert retrain_request(engine, "nobody") is None
