import json
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest
import sqlalchemy as sa

from flows import watching
from infra import schema
from infra.database import open_database, reading, writing
from infra.jobs import claim_job, queue_job
from infra.ledger import Ledger
from infra.settings import load


@pytest.fixture
def prefect():
    """Where a Prefect server would be: it keeps the events that arrive."""

    class Api(BaseHTTPRequestHandler):
        def do_POST(self):
            events = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            self.server.events += [(self.path, event) for event in events]
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_words):
            pass

    with HTTPServer(("127.0.0.1", 0), Api) as server:
        server.events = []
        Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def project(tmp_path, prefect):
    (tmp_path / "kedge.toml").write_text(f'[prefect]\napi_url = "http://127.0.0.1:{prefect.server_port}/api"\n')
    settings = load(tmp_path, {})
    engine = open_database(settings.storage.database)
    yield settings, engine
    engine.dispose()


def test_without_a_champion_a_look_says_so_and_the_watcher_is_heard(project):
    settings, engine = project

    seen = watching.look(settings)

    assert (seen.action, seen.windows, seen.job_id) == ("nothing", (), "")
    assert seen.reasons == ("There is no champion yet, so there is nothing to watch.",)
    assert seen.markdown.startswith("# nothing\n- There is no champion yet")
    with reading(engine) as connection:
        heard = connection.scalar(sa.select(schema.heartbeats.c.at).where(schema.heartbeats.c.process == "watch"))
    assert heard is not None


def test_a_job_that_nobody_took_is_called_for_at_every_look(project, prefect):
    settings, engine = project
    job = queue_job(engine, "retrain", "drift")

    watching.look(settings)
    watching.look(settings)

    (path, event), (_, again) = prefect.events
    assert path == "/api/events"
    assert again["resource"] == event["resource"]
    assert event["event"] == "kedge.retrain.requested"
    assert event["resource"]["prefect.resource.id"] == f"kedge.classifier.job.{job.id}"
    assert event["payload"] == {"job_id": job.id}


def test_a_job_that_runs_is_not_called_for(project, prefect):
    settings, engine = project
    job = queue_job(engine, "retrain", "drift")
    claim_job(engine, job.id)

    watching.look(settings)

    assert prefect.events == []


def test_a_look_goes_well_while_prefect_is_away(tmp_path, free_port, caplog):
    (tmp_path / "kedge.toml").write_text(f'[prefect]\napi_url = "http://127.0.0.1:{free_port()}/api"\n')
    settings = load(tmp_path, {})
    engine = open_database(settings.storage.database)
    queue_job(engine, "retrain", "drift")

    assert watching.look(settings).action == "nothing"
    assert "the watcher will call again" in caplog.text
    engine.dispose()


def test_looks_that_fail_alike_leave_one_row_and_the_next_look_comes(project):
    settings, engine = project
    with writing(engine) as connection:
        connection.execute(sa.text("alter table pointers rename to hidden"))
    looks = watching.repeat(settings, 0.05)
    with pytest.raises(sa.exc.OperationalError):
        watching.look(settings)
    with pytest.raises(sa.exc.OperationalError):
        watching.look(settings)
    with writing(engine) as connection:
        connection.execute(sa.text("alter table hidden rename to pointers"))

    assert next(looks).action == "nothing"
    rows = Ledger(engine).rows("watch")
    assert [row.kind for row in rows] == ["look_failed"]
    assert "no such table: pointers" in rows[0].facts["error"]
