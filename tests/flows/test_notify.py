import json
import logging
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import pytest

from flows.notify import notify
from infra.settings import load


@pytest.fixture
def hook():
    class Hook(BaseHTTPRequestHandler):
        def do_POST(self):
            self.server.posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(self.server.status)
            self.end_headers()

        def log_message(self, *_words):
            pass

    with HTTPServer(("127.0.0.1", 0), Hook) as server:
        server.posted, server.status = [], 204
        Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def with_hook(tmp_path, port):
    return load(tmp_path, {"KEDGE_NOTIFY__WEBHOOK": f"http://127.0.0.1:{port}/hook"})


def test_people_are_told_in_the_log_and_at_the_web_hook(tmp_path, hook, caplog):
    with caplog.at_level(logging.WARNING):
        reached = notify(with_hook(tmp_path, hook.server_port), "drift", "The fog came.", {"window": 7})

    (post,) = hook.posted
    assert reached
    assert {name: post[name] for name in ("project", "kind", "text", "facts")} == {
        "project": "classifier", "kind": "drift", "text": "The fog came.", "facts": {"window": 7},
    }  # fmt: skip
    assert "drift: The fog came." in caplog.text


def test_a_web_hook_that_refuses_is_logged_and_nobody_is_stopped(tmp_path, hook, caplog):
    hook.status = 500

    assert not notify(with_hook(tmp_path, hook.server_port), "drift", "The fog came.")
    assert "did not take 'drift'" in caplog.text


def test_a_web_hook_that_is_not_there_is_logged_and_nobody_is_stopped(tmp_path, free_port, caplog):
    assert not notify(with_hook(tmp_path, free_port()), "drift", "The fog came.")
    assert "did not take 'drift'" in caplog.text


def test_without_a_web_hook_the_log_is_enough(settings, caplog):
    assert notify(settings, "drift", "The fog came.")
    assert "drift: The fog came." in caplog.text
