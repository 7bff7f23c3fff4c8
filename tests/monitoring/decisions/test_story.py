"""Decisions told as stories: from what set them off to what came of them, each with the rows that prove it."""

import pytest
import sqlalchemy as sa

from infra import schema
from infra.clock import new_id, now
from infra.database import open_database, writing
from infra.jobs import claim_job, finish_job, queue_job, queue_job_within
from infra.ledger import Ledger, append_within
from infra.objects import LocalObjects
from models import rollout_runs
from models.registry import Registry
from monitoring.decisions.rows import gather
from monitoring.decisions.story import stories, story_of

GATE = {
    "outcome": "reject", "relief": False,
    "objections": [{"outcome": "reject", "check": "recall", "words": "Class 7 lost 9 points of recall."}],
    "checks": [{"result": "passed"}, {"result": "failed"}],
}  # fmt: skip


@pytest.fixture
def registry(tmp_path):
    engine = open_database(f"sqlite:///{tmp_path}/kedge.db")
    folder = tmp_path / "candidate"
    folder.mkdir()
    for file in ("model.onnx", "model.safetensors", "artifact.json"):
        (folder / file).write_text(file)
    yield Registry(engine, LocalObjects(tmp_path / "objects"), "digits")
    engine.dispose()


@pytest.fixture
def register(registry, tmp_path):
    """A version as a job makes it: registered, and the gate's word in the ledger."""

    def one(job, gate=None, state="registered"):
        given = gate or {"outcome": "promote", "relief": False, "objections": [], "checks": [{"result": "passed"}]}
        made = registry.register(
            tmp_path / "candidate", reason=job.reason, parent_version=None, gate=given, state=state, job_id=job.id
        )
        facts = {"version": made.version, "outcome": given["outcome"], "relief": False, "words": []}
        Ledger(registry.engine).append("decisions", "gate", facts)
        return made.version

    return one


def first_model(registry, register):
    job = queue_job(registry.engine, "train", "first")
    claim_job(registry.engine, job.id)
    version = register(job)
    registry.champions.promote(version, actor="kedge train", reason="first model")
    finish_job(registry.engine, job.id, "done", outcome={"version": version, "promoted": True})
    return job


def retrain(registry, evidence=None, reason="harm"):
    """As the watcher asks for one: verdict, alarm, job and ledger row in one transaction."""
    facts = {"verdict": 7, "reasons": ["Labels show harm."], **(evidence or {})}
    verdict = {"name": "digits", "sequence": 7, "at": now(), "model_version": 1, "action": "retrain",
               "reasons": ["Labels show harm."], "evidence": {}}  # fmt: skip
    alarm = {"id": new_id(), "name": "digits", "at": now(), "lane": "labelled harm", "detector": "overall",
             "facts": {}, "acted_on_at": now()}  # fmt: skip
    with writing(registry.engine) as connection:
        connection.execute(schema.verdicts.insert().values(**verdict))
        connection.execute(schema.alarms.insert().values(**alarm))
        job = queue_job_within(connection, "retrain", reason, facts)
        append_within(connection, "watch", "look", {"verdict": 7, "retrain_job": job.id})
    claim_job(registry.engine, job.id)
    return job


def finish(registry, job, version, state="done", **more):
    outcome = {"version": version, "promoted": state == "done", "train_images": 200, "fresh_images": 40, **more}
    finish_job(registry.engine, job.id, state, outcome=outcome)


def told(registry):
    return stories(gather(registry.engine, "digits"))


def step(story, part):
    (found,) = [each for each in story.steps if each.part == part]
    return found


def test_a_retrain_is_told_from_its_trigger_to_its_promotion_with_proofs(registry, register):
    first_model(registry, register)
    job = retrain(registry)
    version = register(job)
    registry.champions.promote(version, actor="kedge retrain", reason="retrain for harm")
    finish(registry, job, version)

    newest, oldest = told(registry)

    assert (newest.title, newest.tone, newest.job_id) == ("Retrain for harm: version 2 was promoted", "good", job.id)
    assert [each.part for each in newest.steps] == ["trigger", "job", "gate", "promotion"]
    trigger = step(newest, "trigger")
    assert trigger.title == "A retrain, because harm was shown"
    assert trigger.lines == (
        "Verdict 7 about version 1: retrain.", "Labels show harm.", "Alarm: labelled harm, overall."
    )  # fmt: skip
    assert [(one.stream, one.sequence) for one in trigger.proofs] == [("watch", 1), ("jobs", 3)]
    assert "200 images trained, 40 of them from production." in step(newest, "job").lines
    assert step(newest, "gate").title == "The gate says promote of version 2"
    assert step(newest, "gate").proofs[0].stream == "decisions"
    assert step(newest, "promotion").lines[0].startswith("Because: retrain for harm")
    assert [each.missing for each in newest.steps] == [()] * 4
    assert oldest.title == "First training: version 1 was promoted"


def test_how_long_a_job_took_counts_everybody_who_had_it_and_not_the_time_it_lay_dead(registry):
    job = retrain(registry)
    mine = schema.jobs.c.id == job.id
    with writing(registry.engine) as connection:
        connection.execute(schema.jobs.update().where(mine).values(evidence={"minutes_before": 42.0}))
    finish_job(registry.engine, job.id, "failed", error="given up")
    worked = step(told(registry)[0], "job").lines[0]
    with writing(registry.engine) as connection:
        connection.execute(schema.jobs.update().where(mine).values(started_at=None))

    assert worked.startswith("It took 42 min, until ")
    assert step(told(registry)[0], "job").lines[0].startswith("It took 42 min, and was closed at ")


def test_what_the_trigger_said_is_told_wherever_it_lies_in_the_evidence(registry, register):
    decision = {
        "words": "A retrain starts. The verdict is to retrain.",
        "expected": {"words": "A retrain may avoid 12 errors a day."},
        "policies": [
            {"name": "harm", "fires": True, "words": "The verdict is to retrain."},
            {"name": "labels", "fires": False, "words": "3 of 500 labels."},
        ],
    }  # fmt: skip
    retrain(registry, {"trigger": decision})

    lines = step(told(registry)[0], "trigger").lines

    assert lines[:2] == ("A retrain starts. The verdict is to retrain.", "A retrain may avoid 12 errors a day.")
    assert "3 of 500 labels." not in lines


def test_an_undecided_candidate_is_told_with_what_it_waits_for_and_its_second_reading_in_the_same_story(
    registry, register
):
    first_model(registry, register)
    job = retrain(registry)
    version = register(job, GATE, "waiting")
    finish(registry, job, version, "undecided")
    run = rollout_runs.begin(
        registry.engine, "digits", version, champion_version=1, stage="waiting", reason="retrain for harm",
        job_id=job.id, facts=rollout_runs.RunFacts(), words="12 of 40 labels of class 7, recent have come",
    )  # fmt: skip

    waits = told(registry)[0]
    judging = queue_job(registry.engine, "judge", "second reading", {"version": version, "rollout": run.sequence})
    finish_job(registry.engine, judging.id, "done", outcome={"version": version, "promoted": True})
    registry.champions.promote(version, actor="kedge rollout", reason="retrain for harm")
    newest, oldest = told(registry)

    assert (waits.title, waits.tone) == ("Retrain for harm: version 2 waits for labels", "active")
    assert step(waits, "job").title == "Retraining done, and the gate is undecided"
    assert any("12 of 40 labels of class 7" in line for line in step(waits, "rollout").lines)
    assert (newest.title, newest.job_id) == ("Retrain for harm: version 2 was promoted", job.id)
    assert [each.part for each in newest.steps] == ["trigger", "job", "gate", "rollout", "promotion"]
    assert oldest.title == "First training: version 1 was promoted"


def test_a_refused_candidate_is_told_with_the_gates_objections(registry, register):
    first_model(registry, register)
    job = retrain(registry)
    finish(registry, job, register(job, GATE, "refused"), "refused")

    newest = told(registry)[0]

    assert newest.title == "Retrain for harm: version 2 was refused"
    assert step(newest, "gate").lines == (
        "Checks: 1 passed, 1 failed; `kedge gate 2` shows them.",
        "Class 7 lost 9 points of recall.",
    )


def test_a_version_that_was_sent_back_is_told_as_such_and_not_twice(registry, register):
    first_model(registry, register)
    job = retrain(registry)
    version = register(job)
    registry.champions.promote(version, actor="kedge retrain", reason="retrain for harm")
    registry.champions.rollback(actor="bob", reason="wrong on hall 3")
    finish(registry, job, version)

    newest, _ = told(registry)

    assert (newest.title, newest.tone) == ("Retrain for harm: version 2 was promoted, then rolled back", "bad")
    assert step(newest, "afterwards").title == "The champion was rolled back to version 1 by bob"


def test_what_a_person_does_later_is_a_story_of_its_own(registry, register):
    first_model(registry, register)
    job = retrain(registry)
    version = register(job)
    registry.champions.promote(version, actor="kedge retrain", reason="retrain for harm")
    finish(registry, job, version)
    registry.champions.promote(1, actor="ada", reason="the old one was better")
    registry.champions.promote(version, actor="ada", reason="or was it?")

    titles = [story.title for story in told(registry)]

    assert titles[:2] == ["Version 2 promoted by ada", "Version 1 promoted by ada"]
    moves = [each for story in told(registry) for each in story.steps if each.part in ("promotion", "afterwards")]
    assert len(moves) == len(registry.champions.history())


def test_an_earlier_version_that_fits_again_is_the_story_of_the_job_that_found_it(registry, register):
    first_model(registry, register)
    job = retrain(registry)
    version = register(job)
    registry.champions.promote(version, actor="kedge retrain", reason="retrain for harm")
    finish(registry, job, version)
    again = queue_job(registry.engine, "retrain", "harm")
    claim_job(registry.engine, again.id)
    facts = {"job": again.id, "version": 1, "outcome": "promote", "words": "Version 1 fits. It passed the gate."}
    Ledger(registry.engine).append("decisions", "regimes", facts)
    registry.champions.promote(1, actor="kedge retrain", reason="version 1 fits again")
    finish(registry, again, 1, words="re-promoted version 1 instead of training")

    newest = told(registry)[0]

    assert (newest.job_id, newest.title) == (again.id, "Retrain for harm: version 1 was promoted")
    assert "re-promoted version 1 instead of training" in step(newest, "job").lines
    assert step(newest, "gate").title == "The gate says promote of version 1, an earlier one"
    assert step(newest, "gate").lines == ("Version 1 fits. It passed the gate.",)
    assert [story.title for story in told(registry)].count("Version 1 promoted by kedge retrain") == 0


def test_what_was_weighed_before_the_training_and_each_reading_of_the_judge_images_is_told(registry, register):
    first_model(registry, register)
    job = retrain(registry)
    ledger = Ledger(registry.engine)
    ledger.append("decisions", "forecast", {"job": job.id, "words": "A gain of 9 points is likely."})
    version = register(job)
    ledger.append("judge-readings", "reading", {"onnx_sha256": registry.version(version).onnx_sha256})
    ledger.append("decisions", "gate", {"version": version, "outcome": "reject", "reading": 2})
    finish(registry, job, version, "refused")

    newest = told(registry)[0]

    assert "Forecast: A gain of 9 points is likely." in step(newest, "job").lines
    assert [line.rpartition(": ")[2] for line in step(newest, "gate").lines[:2]] == ["promote.", "reject."]
    assert step(newest, "gate").proofs[0].stream == "judge-readings"


def test_a_rollout_is_told_stage_by_stage(registry, register):
    first_model(registry, register)
    job = retrain(registry)
    version = register(job)
    row = {"name": "digits", "sequence": 1, "version": version, "champion_version": 1, "stage": "canary",
           "started_at": now(), "stage_since": now(), "reason": "harm", "job_id": job.id, "state": {},
           "words": "12 of 200 answers as canary"}  # fmt: skip
    with writing(registry.engine) as connection:
        connection.execute(schema.rollout_runs.insert().values(**row))
        for stage, words in (("shadow", "begun"), ("canary", "300 answers as shadow showed nothing against it")):
            append_within(connection, "rollouts", "step", {"rollout": 1, "stage": stage, "words": words})
    finish(registry, job, version, promoted=False)

    newest = told(registry)[0]

    assert (newest.title, newest.tone) == ("Retrain for harm: version 2 is being rolled out", "active")
    told_stages = [line.partition(" ")[2] for line in step(newest, "rollout").lines]
    assert told_stages == ["shadow: begun", "canary: 300 answers as shadow showed nothing against it"]


def test_a_job_that_failed_or_was_declined_or_waits_is_told_without_a_version(registry, register):
    first_model(registry, register)
    failed = retrain(registry)
    finish_job(registry.engine, failed.id, "failed", error="the disk is full")
    declined = queue_job(registry.engine, "retrain", "schedule")
    claim_job(registry.engine, declined.id)
    finish_job(registry.engine, declined.id, "declined", outcome={"words": "A gain of 1 point needs 400 more labels."})
    queue_job(registry.engine, "retrain", "manual")

    waiting, declined_told, failed_told, _ = told(registry)

    assert (waiting.title, waiting.tone) == ("Retrain for manual: queued", "active")
    assert step(declined_told, "job").title == "Retraining declined before it was begun"
    assert "A gain of 1 point needs 400 more labels." in step(declined_told, "job").lines
    assert (failed_told.tone, "the disk is full" in step(failed_told, "job").lines) == ("bad", True)


def test_a_request_that_was_declined_is_told(registry, register):
    row = {"id": new_id(), "name": "digits", "at": now(), "asked_by": "nightly", "reason": "new hall",
           "state": "declined", "words": "The cool-down lasts until 14:00.", "decided_at": now()}  # fmt: skip
    with writing(registry.engine) as connection:
        connection.execute(schema.retrain_requests.insert().values(**row))

    (story,) = told(registry)

    assert story.title == "A request by nightly is declined"
    assert story.steps[0].lines == ("Because: new hall", "The cool-down lasts until 14:00.")


def test_what_is_missing_is_said_to_be_missing(registry, register):
    job = retrain(registry)
    version = register(job)
    registry.champions.promote(version, actor="kedge retrain", reason="retrain for harm")
    finish(registry, job, version)
    with writing(registry.engine) as connection:
        connection.execute(sa.delete(schema.ledger))
        connection.execute(sa.delete(schema.verdicts))
        connection.execute(schema.model_versions.update().values(gate=None))

    (story,) = told(registry)

    assert {line for each in story.steps for line in each.missing} == {
        "verdict 7, which the job names, is not in its table",
        "the ledger has no row of the job being asked for",
        "the ledger has no row of its end",
        "version 1 has no decision of the gate",
        "the ledger has no row of the gate",
        "the ledger has no row of this change",
    }


def test_the_story_of_a_job_is_found_by_its_id(registry, register):
    job = first_model(registry, register)
    found = gather(registry.engine, "digits")

    assert story_of(found, job.id) == stories(found)[0]
    assert story_of(found, "nobody's") is None
