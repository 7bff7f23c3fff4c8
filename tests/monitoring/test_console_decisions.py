"""The page of decisions, over real rows, asked over HTTP as a browser asks it."""

import html
import re

import pytest
from starlette.testclient import TestClient

from infra.database import open_database
from infra.jobs import claim_job, finish_job, queue_job
from infra.ledger import Ledger
from infra.ledger_heads import write_export
from infra.objects import open_objects
from infra.settings import load
from models import rollouts
from models.gate_records import REASONS
from models.registry import Registry
from monitoring.console import retrains
from monitoring.console.app import application

GATE = {"outcome": "promote", "relief": False, "objections": [], "checks": [{"result": "passed"}]}


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "kedge.toml").write_text('[project]\nname = "digits"\n')
    return load(tmp_path, {})


@pytest.fixture
def registry(settings):
    engine = open_database(settings.storage.database)
    yield Registry(engine, open_objects(settings.storage), "digits")
    engine.dispose()


@pytest.fixture
def client(settings, registry):
    with TestClient(
        application(settings, registry.engine, registry.objects), base_url="http://127.0.0.1:3001"
    ) as asked:
        yield asked


@pytest.fixture
def made(registry, tmp_path):
    """A version that a job made and promoted."""

    def one(kind, reason):
        job = queue_job(registry.engine, kind, reason)
        claim_job(registry.engine, job.id)
        folder = tmp_path / "candidate"
        folder.mkdir(exist_ok=True)
        for file in ("model.onnx", "model.safetensors", "artifact.json"):
            (folder / file).write_text(f"{file} of {job.id}")
        version = registry.register(folder, reason=reason, parent_version=None, gate=GATE, job_id=job.id).version
        Ledger(registry.engine).append("decisions", "gate", {"version": version, "outcome": "promote"})
        registry.champions.promote(version, actor="kedge retrain", reason=f"retrain for {reason}")
        finish_job(registry.engine, job.id, "done", outcome={"version": version, "promoted": True})
        return version

    return one


def text_of(page):
    """What a person reads, with single spaces."""
    return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", page)).split())


def test_before_anything_was_decided_the_page_says_what_will_be_told(client):
    page = client.get("/decisions")

    assert page.status_code == 200
    said = text_of(page.text)
    assert "Nothing was decided yet. kedge train makes the first model, and its story is told here." in said
    assert "There has been no champion yet." in said
    assert "Its heads were never exported" in said


def test_a_retrain_is_told_as_a_story_with_its_proofs(registry, client, made):
    made("train", "first")
    made("retrain", "harm")
    rows = Ledger(registry.engine).rows("models")

    page = client.get("/decisions").text

    said = text_of(page)
    assert "Retrain for harm version 2 was promoted" in said
    assert re.search(r"Trigger A retrain, because harm was shown", said)
    assert "Missing: the job names no verdict" in said
    assert "Job Retraining done" in said
    assert "Gate The gate says promote of version 2" in said
    assert "Promotion Version 2 was promoted by kedge retrain" in said
    assert f"models#4 {rows[3].hash[:8]}…" in said
    assert rows[3].hash in page


@pytest.mark.parametrize("reason", sorted(REASONS))
def test_every_reason_for_a_retrain_has_words(client, made, reason):
    made("retrain", reason)

    said = text_of(client.get("/decisions").text)

    assert "A retrain, because " in said
    assert retrains.reason({"reason": f"{reason}, manual"}).endswith(". A person asked for it.")


def test_the_line_of_champions_and_what_was_tried_is_beside_it(registry, client, made):
    made("train", "first")
    made("retrain", "harm")
    rollouts.start(registry.engine, "digits", "canary", 1, share=0.1, actor="ada", reason="is it?")
    registry.champions.rollback(actor="bob", reason="wrong on <hall 3>")

    page = client.get("/decisions").text

    said = text_of(page)
    assert "v1 rolled back now, for" in said
    assert "by bob wrong on <hall 3>" in said
    assert "<hall 3>" not in page
    assert "Tried beside it: canary v1, 10 %" in said


def test_an_older_version_that_is_promoted_was_not_gone_back_to(registry, client, made):
    made("train", "first")
    made("retrain", "harm")

    registry.champions.promote(1, actor="kedge retrain", reason="night is back")
    registry.champions.rollback(actor="bob", reason="it is not")

    said = text_of(client.get("/").text)
    assert "promoted v1: night is back" in said
    assert "rolled back v2: it is not" in said


def test_the_newest_rows_of_the_ledger_and_its_export_are_shown(registry, client, made):
    made("train", "first")
    write_export(registry.engine, registry.objects, "digits")

    said = text_of(client.get("/decisions").text)

    assert "Ledger · 6 rows in 4 streams" in said
    assert "Its heads were exported just now (export 1 of" in said
    assert "models#2 promoted kedge retrain version 1, reason retrain for first" in said


def test_a_fragment_that_has_not_changed_is_not_sent_again(client, made):
    made("train", "first")
    first = client.get("/decisions/fragment")

    again = client.get("/decisions/fragment", headers={"If-None-Match": first.headers["ETag"]})

    assert first.status_code == 200
    assert "<header" not in first.text
    assert again.status_code == 304


def test_each_page_renews_itself_from_its_own_fragment_and_leads_to_the_other(client):
    overview, decisions = client.get("/").text, client.get("/decisions").text

    assert 'data-fragment="fragment"' in overview
    assert 'href="decisions"' in overview
    assert 'data-fragment="decisions/fragment"' in decisions
    assert '<a href="./">Overview</a>' in decisions


def test_machines_get_the_same_as_json(client, made):
    made("train", "first")
    made("retrain", "harm")

    document = client.get("/api/decisions.json").json()

    assert [one["version"] for one in document["champions"]] == [1, 2]
    assert document["champions"][0]["until"] == document["champions"][1]["since"]
    assert [one["came_to"] for one in document["decisions"]] == ["version 2 was promoted", "version 1 was promoted"]
    assert document["decisions"][0]["steps"][2]["proofs"][0]["stream"] == "decisions"
