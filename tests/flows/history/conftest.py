import pytest

from flows.workplace import Workplace
from infra.jobs import claim_job, finish_job, note_run_dir, queue_job
from tests.flows.remembered import project


@pytest.fixture
def place(tmp_path) -> Workplace:
    return project(tmp_path)


@pytest.fixture
def kedge(place, kedge, monkeypatch):
    """The command in the project's folder."""
    monkeypatch.chdir(place.settings.root)
    return kedge


@pytest.fixture
def make(place, tmp_path):
    """A version as a job makes it: run directory, registration, gate, outcome; it is promoted nowhere yet."""

    def one(kind="retrain", reason="harm", parent=None, evidence=None, **documents):
        job = queue_job(place.engine, kind, reason, evidence)
        claim_job(place.engine, job.id)
        note_run_dir(place.engine, job.id, str(tmp_path / "runs" / job.id))
        candidate = tmp_path / "candidate"
        candidate.mkdir(exist_ok=True)
        for name in ("model.onnx", "model.safetensors", "artifact.json"):
            (candidate / name).write_text(documents.get(name, f"{name} of {job.id}"))
        gate = {"outcome": "promote", "relief": False, "objections": [], "checks": [{"result": "passed"}]}
        made = place.registry.register(candidate, reason=reason, parent_version=parent, gate=gate, job_id=job.id)
        facts = {"version": made.version, "outcome": "promote", "words": [], "data_fingerprint": "f" * 64}
        place.ledger.append("decisions", "gate", facts)
        outcome = {"version": made.version, "promoted": True, "train_images": 120, "fresh_images": 20}
        finish_job(place.engine, job.id, "done", outcome=outcome)
        return made

    return one
