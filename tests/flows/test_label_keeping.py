"""Requests for labels go with the prediction that they are about."""

from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from flows.forget import forget
from flows.tidying import tidy
from flows.workplace import Workplace
from infra import schema
from infra.clock import now
from infra.database import writing
from monitoring.labelling.keeping import drop_request
from monitoring.labelling.requests import ANSWERED, ASKED
from monitoring.labelling.rows import newest_plan, note_exported, requests
from monitoring.watching.state import WatchState, load_state, store_state
from tests.flows.remembered import Sent, picture, project, shipped, where
from tests.flows.test_forget import Silent

ADA = Sent("the-id-of-ada", picture(1), "cat")
BEN = Sent("the-id-of-ben", picture(2))
KEPT = "[retention]\npredictions_days = 60.0\nlabels_days = 30.0\n"


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    return project(tmp_path, KEPT)


def ask(place: Workplace, sent: Sent, *, age_days: float = 0, **values: object) -> None:
    at = now() - timedelta(days=age_days)
    row = {
        "name": place.settings.project.name, "prediction_id": sent.id, "predicted_at": at, "asked_at": at,
        "model_version": 1, "stratum": "audit", "probability": 0.1, "uniform_probability": 0.1, "in_audit": True,
        "policy": "poisson-1", "state": ASKED, "image_sha256": sent.sha256, "facts": {},
    }  # fmt: skip
    with writing(place.engine) as connection:
        connection.execute(schema.label_requests.insert().values(**(row | values)))


def plan(place: Workplace, sequence: int, age_days: float) -> None:
    row = {
        "name": place.settings.project.name, "sequence": sequence, "at": now() - timedelta(days=age_days),
        "model_version": 1, "predictions": 1, "not_kept": 0, "asked": 1, "uniform_probability": 0.1, "period_s": 1.0,
        "pace_per_day": 1.0, "read_until": {},
    }  # fmt: skip
    with writing(place.engine) as connection:
        connection.execute(schema.label_plans.insert().values(**row))


def asked(place: Workplace) -> list[str]:
    return [one.prediction_id for one in requests(place.engine, place.settings.project.name)]


def test_a_forgotten_prediction_is_asked_about_no_more_and_nothing_names_it(place):
    shipped(place, ADA, BEN)
    ask(place, ADA)
    ask(place, BEN)

    done = forget(place, [ADA.id], Silent(), "ada")[ADA.id]

    assert asked(place) == [BEN.id]
    assert where(place, ADA.id, ADA.sha256) == []
    assert not any("exported to be labelled" in sentence for sentence in done.left)


def test_that_it_was_exported_to_be_labelled_is_said(place):
    shipped(place, ADA)
    ask(place, ADA)
    note_exported(place.engine, place.settings.project.name, [ADA.id], now())

    done = forget(place, [ADA.id], Silent(), "ada")[ADA.id]

    assert sum("exported to be labelled" in sentence for sentence in done.left) == 1


def test_those_who_waited_for_the_same_picture_wait_for_the_next_of_them(place):
    name = place.settings.project.name
    ask(place, ADA, state=ANSWERED, label="cat")
    for identifier in ("copy-1", "copy-2"):
        ask(place, Sent(identifier, ADA.data), same_as=ADA.id)

    drop_request(place.engine, name, ADA.id)

    assert {one.prediction_id: one.same_as for one in requests(place.engine, name)} == {
        "copy-1": None, "copy-2": "copy-1"
    }  # fmt: skip


def test_a_watcher_who_is_looking_meanwhile_writes_nothing(place):
    name = place.settings.project.name
    with writing(place.engine) as connection:
        store_state(connection, name, WatchState(sequence=1))
    ask(place, ADA)

    drop_request(place.engine, name, ADA.id)

    with writing(place.engine) as connection:
        assert not store_state(connection, name, WatchState(sequence=2))
    assert load_state(place.engine, name).sequence == 2


def test_requests_and_plans_past_their_time_go_and_the_newest_plan_stays(place):
    ask(place, ADA, age_days=40)
    ask(place, BEN, age_days=2)
    plan(place, 1, 50)
    plan(place, 2, 45)

    looked = tidy(place, Silent(), dry_run=True)
    before = asked(place)
    done = tidy(place, Silent())

    assert [table.rows_deleted for table in looked.tables if table.name == "label_requests"] == [1]
    assert before == [ADA.id, BEN.id]
    assert [table.rows_deleted for table in done.tables if table.name == "label_requests"] == [1]
    assert asked(place) == [BEN.id]
    assert newest_plan(place.engine, place.settings.project.name)["sequence"] == 2
    with place.engine.connect() as connection:
        assert connection.execute(sa.select(sa.func.count()).select_from(schema.label_plans)).scalar() == 1


def test_without_a_limit_all_are_kept(tmp_path):
    place = project(tmp_path)
    ask(place, ADA, age_days=4_000)

    tidy(place, Silent())

    assert asked(place) == [ADA.id]
