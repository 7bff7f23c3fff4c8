"""`kedge explain`: from an answer back to data, decision and evidence, with proofs; and what nobody can tell now."""

import json
import shutil
from datetime import timedelta
from pathlib import Path

import pytest
import sqlalchemy as sa

from flows.forget import forget
from flows.history.explain import explain_prediction, explain_version
from infra import schema
from infra.clock import new_id, now
from infra.database import writing
from infra.errors import UserError
from infra.forgettings import ask_to_forget
from infra.jobs import jobs
from models import rollouts
from tests.flows.remembered import Sent, picture, project, shipped
from tests.flows.test_forget import Silent, entry

ARTIFACT = json.dumps(
    {"backbone": "test_resnet", "lineage": {"seed": 3, "strategy": "staged", "trained_at": "2026-11-21"}}
)


@pytest.fixture
def champion(place, make):
    """Version 1, made by a first training and promoted."""
    made = make("train", "first", **{"artifact.json": ARTIFACT})
    place.registry.champions.promote(1, actor="kedge train", reason="first model")
    return made


def sent(number=1, **facts):
    return Sent(f"id-{number}", picture(number), **facts)


def test_an_answer_is_followed_back_to_its_model_data_decision_and_promotion(place, champion):
    shipped(place, sent(label="dog", labelled_by="ada"))

    told = explain_prediction(place, "id-1")

    assert (told.answer.model, told.answer.label, told.answer.role) == ("classifier:1", "cat", "champion")
    assert "by kedge train (first model)" in told.answer.role_words
    assert (told.label.label, told.label.labelled_by, told.label.right) == ("dog", "ada", False)
    version = told.version
    assert (version.parent_version, version.onnx_sha256) == (None, champion.onnx_sha256)
    assert (version.training.seed, version.training.strategy) == (3, "staged")
    assert version.training.data_fingerprint == "f" * 64
    assert version.training.images == {"train": {"manifest": 100, "production": 20}}
    assert [step.part for step in version.stories[0].steps] == ["trigger", "job", "gate", "promotion"]
    assert [(one.stream, one.sequence) for one in version.proofs] == [("models", 1)]
    assert [(one.how, one.proofs[0].sequence) for one in version.reigns] == [("promoted", 2)]
    assert (told.missing, version.missing) == ((), ())


def test_every_proof_is_a_row_of_a_ledger_that_is_whole(place, champion):
    shipped(place, sent())

    told = explain_prediction(place, "id-1").version

    proofs = [*told.proofs, *told.training.proofs, *(one for reign in told.reigns for one in reign.proofs)]
    proofs += [one for story in told.stories for step in story.steps for one in step.proofs]
    assert {(one.stream, one.kind) for one in place.ledger.newest(100)} >= {
        ("models", "promoted"),
        ("decisions", "gate"),
    }
    for proof in proofs:
        assert proof.hash in {row.hash for row in place.ledger.rows(proof.stream) if row.sequence == proof.sequence}
        assert place.ledger.verify(proof.stream) is None
    assert {proof.stream for proof in proofs} == {"models", "jobs", "decisions"}


def test_the_snapshot_kept_with_the_version_tells_how_many_images_came_from_where(place, champion):
    document = {"fingerprint": "f" * 64, "train": [entry(sent(5), "train"), {"source": "manifest"}],
                "select": [{"source": "manifest"}], "judge_old": []}  # fmt: skip
    place.objects.put(f"{champion.artifact_prefix}/snapshot.json", json.dumps(document).encode())

    training = explain_version(place, 1).version.training

    assert training.images == {"train": {"manifest": 1, "production": 1}, "select": {"manifest": 1}}
    assert training.told_by == "models/classifier/1/snapshot.json"


def test_a_manifest_that_names_no_judge_image_tells_their_count_all_the_same(place, champion):
    counts = {"train": {"manifest": 70, "production": 20}, "judge_old": {"manifest": 12}, "judge_recent": {}}
    document = {"fingerprint": "f" * 64, "counts": counts, "left_out": {"near-duplicates": 3}, "forgotten": 1}
    place.objects.put(f"{champion.artifact_prefix}/snapshot.json", json.dumps(document).encode())

    training = explain_version(place, 1).version.training

    assert training.images == {"train": {"manifest": 70, "production": 20}, "judge_old": {"manifest": 12}}
    assert (training.left_out, training.forgotten) == ({"near-duplicates": 3}, 1)


def test_without_it_the_run_directory_tells_and_another_fingerprint_is_noticed(place, champion):
    run = Path(jobs(place.engine)[0].run_dir)
    run.mkdir(parents=True)
    (run / "snapshot.json").write_text(json.dumps({"fingerprint": "e" * 64, "train": [{"source": "manifest"}]}))

    version = explain_version(place, 1).version

    assert version.training.images == {"train": {"manifest": 1}}
    assert version.missing == (f"the snapshot ({run}/snapshot.json) is not the one whose fingerprint the ledger names",)


def test_a_canarys_answer_is_told_as_such(place, champion, make):
    make()
    rollouts.start(place.engine, "classifier", "canary", 2, share=0.1, actor="ada", reason="new camera")
    prediction = sent().prediction(now())
    place.log.append_predictions("s-0", 1, [(0, prediction.__class__(**{**vars(prediction), "model_version": 2}))])

    answer = explain_prediction(place, "id-1").answer

    assert answer.role == "canary"
    assert answer.role_words.startswith("it was a canary for 10 % of the predictions, since ")
    assert answer.role_words.endswith("by ada (new camera)")


def test_an_answer_of_a_worker_that_had_not_changed_yet_is_told_as_such(place, champion, make):
    make()
    place.registry.champions.promote(2, actor="ada", reason="better")
    shipped(place, sent(), at=now() + timedelta(seconds=1))

    answer = explain_prediction(place, "id-1").answer

    assert (answer.version, answer.role) == (1, "earlier champion")
    assert "the worker that answered had not changed yet" in answer.role_words


def test_what_is_missing_is_said_and_the_rest_is_told(place, champion):
    shipped(place, sent())
    shutil.rmtree(place.objects.folder / "models")
    with writing(place.engine) as connection:
        connection.execute(sa.delete(schema.jobs))
        connection.execute(sa.delete(schema.ledger))

    told = explain_prediction(place, "id-1")

    assert told.answer.role == "champion"
    assert told.missing == ("The ledger has no row of change 1.",)
    assert told.version.missing == (
        f"classifier:1 has no artifact.json in {place.objects.describe()}",
        "no row names the fingerprint of its data",
        "neither its snapshot nor its job says how many images trained it",
        "no job is known that made it",
        "the ledger has no row of classifier:1 being registered",
    )


def test_after_forgetting_the_pseudonym_tells_that_and_nothing_of_the_person(place, champion, kedge):
    ada = sent(label="cat")
    shipped(place, ada, sent(2))
    gone = forget(place, ["id-1"], Silent(), "ada")["id-1"]

    code, out, _ = kedge("explain", "--id", gone.pseudonym[:16])
    unknown, _, err = kedge("explain", "--id", "id-1")
    other = explain_prediction(place, "id-2")

    assert code == 0
    assert f"Forgotten: {gone.pseudonym}" in out
    assert "Asked by ada at" in out
    assert "rows 1 of predictions, 1 of labels" in out
    assert "keeping#1" in out
    assert "which version answered, and what: that was forgotten together with the prediction" in out
    assert "id-1" not in out
    assert unknown == 1
    assert "No prediction in the log has the id 'id-1'." in err
    assert "One prediction was forgotten, and nobody can tell from an id whether it was one of them" in err
    assert other.answer.role == "champion"


def test_while_a_request_is_open_the_id_still_finds_it(place):
    ask_to_forget(place.engine, "id-1", "ada")

    gone = explain_prediction(place, "id-1").gone

    assert (gone.asked_by, gone.finished_at, gone.outcome) == ("ada", None, {})


def test_an_id_past_its_time_is_told_so(tmp_path):
    place = project(tmp_path, "[retention]\npredictions_days = 30.0\n")
    old = new_id(now() - timedelta(days=4000))

    with pytest.raises(UserError, match=r"It is from 201\d-.*\[retention\] keeps predictions for 30 days") as refused:
        explain_prediction(place, old)

    assert "Expected an id as the answer to a prediction had it." in str(refused.value)


def test_the_command_shows_the_whole_story_and_its_proofs(place, champion, kedge):
    shipped(place, sent(label="cat"))

    code, out, _ = kedge("explain", "--id", "id-1")

    assert code == 0
    assert "classifier:1 answered 'cat' with 90.0%." in out
    assert "Labelled 'cat' at" in out
    assert "Trained on: 100 of manifest, 20 of production." in out
    assert "The gate says promote of version 1  [decisions#1 " in out
    assert "Champion from" in out
    assert "What is missing" not in out


def test_as_json_it_is_the_same_for_machines(place, champion, kedge):
    document = json.loads(kedge("explain", "--version", "1", "--json")[1])

    assert document["answer"] is None
    assert document["version"]["training"]["images"] == {"train": {"manifest": 100, "production": 20}}
    assert document["version"]["stories"][0]["steps"][2]["proofs"][0]["stream"] == "decisions"


def test_neither_or_both_of_id_and_version_is_refused_with_a_way_on(kedge):
    for arguments, said in (([], "neither was"), (["--id", "id-1", "--version", "1"], "both were")):
        code, _, err = kedge("explain", *arguments)

        assert code == 1
        assert f"expected either --id PREDICTION or --version N, {said} named" in err
