"""The time line of champions: whatever happened to the pointer, every moment has its champion, and its proof."""

import random
from datetime import timedelta
from itertools import pairwise

import pytest
import sqlalchemy as sa

from infra import schema
from infra.database import open_database, writing
from infra.errors import UserError
from infra.jobs import claim_job, finish_job, queue_job
from infra.ledger import Ledger
from infra.objects import LocalObjects
from models import rollouts
from models.registry import Registry
from monitoring.decisions.rows import gather
from monitoring.decisions.timeline import timeline

HISTORY = schema.pointer_history


@pytest.fixture
def registry(tmp_path):
    engine = open_database(f"sqlite:///{tmp_path}/kedge.db")
    yield Registry(engine, LocalObjects(tmp_path / "objects"), "digits")
    engine.dispose()


@pytest.fixture
def register(registry, tmp_path):
    """Registers so many versions."""

    def several(count, **more):
        folder = tmp_path / "candidate"
        folder.mkdir(exist_ok=True)
        for file in ("model.onnx", "model.safetensors", "artifact.json"):
            (folder / file).write_text(f"{file} {random.random()}")
        return [registry.register(folder, reason="test", parent_version=None, **more) for _ in range(count)]

    return several


def promote(registry, version, reason="better"):
    return registry.champions.promote(version, actor="ada", reason=reason)


def told(registry):
    return timeline(gather(registry.engine, registry.name))


def change(registry, statement):
    with writing(registry.engine) as connection:
        assert connection.execute(statement).rowcount >= 1


def test_before_the_first_promotion_there_is_nothing_to_tell(registry, register):
    register(1)

    line = told(registry)

    assert (line.reigns, line.before, line.problems) == ((), (), ())


def test_each_reign_ends_where_the_next_begins_and_says_who_moved_it_and_why(registry, register):
    register(2, gate={"outcome": "promote", "relief": False})
    promote(registry, 1, "first")
    promote(registry, 2, "retrain for harm")
    registry.champions.rollback(actor="bob", reason="wrong on hall 3")

    first, second, third = told(registry).reigns

    assert [(one.version, one.how, one.actor, one.reason) for one in (first, second, third)] == [
        (1, "promoted", "ada", "first"),
        (2, "promoted", "ada", "retrain for harm"),
        (1, "rolled back", "bob", "wrong on hall 3"),
    ]
    assert (first.until, second.until, third.until) == (second.since, third.since, None)
    assert second.decision == "promote"
    rows = Ledger(registry.engine).rows("models")
    assert [one.proofs[0].sequence for one in (first, second, third)] == [3, 4, 5]
    assert third.proofs[0].hash == rows[4].hash
    assert third.proofs[0].words == f"models#5 {rows[4].hash[:8]}…"


@pytest.mark.parametrize("seed", range(6))
def test_whatever_is_done_to_the_pointer_the_line_has_no_gap(registry, register, seed):
    chance = random.Random(seed)
    register(4)
    last = promote(registry, 1)
    expected = [1]
    for step in range(40):
        kind = chance.choice(["promote", "rollback", "put back", "canary", "end"])
        try:
            if kind == "promote":
                last = promote(registry, chance.randint(1, 4), f"step {step}")
            elif kind == "rollback":
                last = registry.champions.rollback(actor="bob", reason="it disappoints")
            elif kind == "put back":
                last = registry.champions.put_back(last, actor="kedge", reason="a worker refused it") or last
            elif kind == "canary":
                rollouts.start(
                    registry.engine, "digits", "canary", chance.randint(1, 4), share=0.1, actor="ada", reason="try"
                )
            else:
                rollouts.end(registry.engine, "digits", "canary", actor="ada", reason="enough")
        except UserError:
            continue  # as there is nobody to go back to, or the champion is to be its own canary
        if last.sequence > len(expected):
            expected.append(last.version)

    line = told(registry)

    assert line.problems == ()
    assert [one.version for one in line.reigns] == expected
    assert all(before.until == after.since for before, after in pairwise(line.reigns))
    assert line.reigns[-1].until is None
    assert line.reigns[-1].version == registry.champions.current()
    assert all(len(one.proofs) == 1 for one in line.reigns)
    started = [row for row in Ledger(registry.engine).rows("models") if row.kind == "canary started"]
    trials = [trial for one in line.reigns for trial in one.trials]
    assert [trial.proofs[0].sequence for trial in trials] == [row.sequence for row in started]
    # Every moment has one champion: the one whose reign it lies in.
    begin, end = line.reigns[0].since, line.reigns[-1].since + timedelta(seconds=1)
    for _ in range(50):
        moment = begin + chance.random() * (end - begin)
        assert sum(one.since <= moment and (one.until is None or moment < one.until) for one in line.reigns) == 1


def test_a_canary_is_told_in_the_reign_in_which_it_began_with_its_share_and_end(registry, register):
    register(2)
    promote(registry, 1)
    rollouts.start(registry.engine, "digits", "canary", 2, share=0.1, actor="ada", reason="new camera")
    rollouts.start(registry.engine, "digits", "canary", 2, share=0.5, actor="ada", reason="more of it")
    promote(registry, 2)
    rollouts.end(registry.engine, "digits", "canary", actor="kedge", reason="became champion")

    first, second = told(registry).reigns

    assert [(one.version, one.share, one.reason) for one in first.trials] == [
        (2, 0.1, "new camera"), (2, 0.5, "more of it")
    ]  # fmt: skip
    assert first.trials[0].until == first.trials[1].since
    assert first.trials[1].until > second.since
    assert second.trials == ()


def test_a_reign_names_the_job_that_made_its_version(registry, register):
    promote(registry, register(1)[0].version)
    job = queue_job(registry.engine, "retrain", "harm")
    claim_job(registry.engine, job.id)
    made = register(1)[0]
    promote(registry, made.version)
    finish_job(registry.engine, job.id, "done", outcome={"version": made.version, "promoted": True})

    first, second = told(registry).reigns

    assert (first.job_id, second.job_id) == ("", job.id)


def test_a_clock_that_went_back_changes_no_order_and_is_said(registry, register):
    register(2)
    promote(registry, 1)
    promote(registry, 2)
    line = told(registry)
    wrong = line.reigns[0].since - timedelta(hours=1)
    change(registry, HISTORY.update().where(HISTORY.c.sequence == 2).values(changed_at=wrong))

    after = told(registry)

    assert [one.version for one in after.reigns] == [1, 2]
    assert after.reigns[0].until == after.reigns[1].since == after.reigns[0].since
    assert "Change 2 is dated" in after.problems[0]


def test_changes_that_were_taken_away_or_made_by_hand_are_said(registry, register):
    register(3)
    for version in (1, 2, 3):
        promote(registry, version)
    change(registry, sa.delete(HISTORY).where(HISTORY.c.sequence == 2))
    change(registry, schema.pointers.update().values(version=1))

    line = told(registry)

    assert [one.version for one in line.reigns] == [1, 3]
    assert line.problems == (
        "Change 2 of the champion is missing from the history: the next one there is 3.",
        (
            "The history ends with version 3 (change 3), but the pointer says version 1 (change 3): "
            "one of them was changed by hand."
        ),
    )


def test_a_change_without_a_ledger_row_is_told_as_unproven(registry, register):
    register(1)
    promote(registry, 1)
    change(registry, sa.delete(schema.ledger).where(schema.ledger.c.kind == "promoted"))

    line = told(registry)

    assert (line.reigns[0].how, line.reigns[0].proofs) == ("moved", ())
    assert line.problems == ("The ledger has no row of change 1.",)
