"""`kedge up` with real children, small enough to start in a tenth of a second."""

import dataclasses
import json
import os
import signal
import socket
import subprocess
import sys
import time
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread

import psutil
import pytest

from flows import up_file
from flows.children import Child, Listener, Ready
from infra.database import open_database
from infra.jobs import queue_job
from tests.flows.jobs.listening import listening

# Real children, started, killed and stopped: seconds each.
pytestmark = pytest.mark.slow
PATIENCE_S = 40

# Keeps children given as JSON, and says what happens, a line each.
UP = """
import json, sys
from pathlib import Path
from flows.children import Child, Listener, Ready
from flows.supervisor import up
from infra.errors import UserError
from infra.settings import load

def child(d):
    listens = tuple(Listener(**each) for each in d["listens"])
    return Child(d["name"], tuple(d["argv"]), d["env"], Ready(**d["ready"]), listens, d["stop_s"], d["hears_calls"])

def tell(happening):
    print(happening.child or "all", happening.what, flush=True)

try:
    up(load(Path(sys.argv[1])), tuple(child(d) for d in json.loads(sys.argv[2])), tell)
except UserError as error:
    print(error, file=sys.stderr)
    sys.exit(1)
"""

# Answers HTTP; its own child lives in a session of its own, as a training job does.
WEB = """
import http.server, subprocess, sys
from pathlib import Path
apart = subprocess.Popen(["sleep", "600"], start_new_session=True)
here = subprocess.Popen(["sleep", "600"])
with open(sys.argv[2], "a") as file:
    file.write(f"{apart.pid} {here.pid}\\n")
print("serving", flush=True)
http.server.HTTPServer(("127.0.0.1", int(sys.argv[1])), http.server.SimpleHTTPRequestHandler).serve_forever()
"""

STUBBORN = """
import signal, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
time.sleep(600)
"""

BEATING = """
import time
from pathlib import Path
from infra.heartbeat import beat
from infra.database import open_database
from infra.settings import load
time.sleep(0.5)
beat(open_database(load(Path.cwd()).storage.database), "shipper")
time.sleep(600)
"""


@pytest.fixture
def start(tmp_path):
    started = []

    def one(*children):
        spec = json.dumps([dataclasses.asdict(child) for child in children])
        command = [sys.executable, "-c", UP, str(tmp_path), spec]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
        started.append(process)
        return process

    yield one
    for process in started:
        if process.poll() is None:
            process.terminate()
        process.communicate(timeout=PATIENCE_S)


@pytest.fixture
def web(tmp_path, free_port):
    def one(name, port=None):
        port = port or free_port()
        listens = (Listener("127.0.0.1", port, "serve.port"),)
        argv = (sys.executable, "-c", WEB, str(port), str(tmp_path / f"{name}.pids"))
        return Child(name, argv, {}, Ready(f"http://127.0.0.1:{port}/", within_s=PATIENCE_S), listens)

    return one


def plain(name, script, *, stop_s=5.0, ready=None):
    return Child(name, (sys.executable, "-c", script), {}, ready or Ready(within_s=PATIENCE_S), (), stop_s)


def until(true):
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.05)


def state_of(home, name):
    state = up_file.running(home)
    return None if state is None else next(child for child in state.children if child.name == name)


def is_up(home):
    state = up_file.running(home)
    return state is not None and state.state == "up"


def grandchildren(tmp_path, name, life=0):
    line = (tmp_path / f"{name}.pids").read_text().splitlines()[life]
    return [int(pid) for pid in line.split()]


def alive(pid):
    return psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def test_children_start_in_order_and_stop_in_reverse_order(start, web, settings):
    first, second = web("first"), plain("second", BEATING, ready=Ready(heartbeat="shipper", within_s=PATIENCE_S))
    process = start(first, second)
    until(lambda: is_up(settings.storage.home))

    process.terminate()
    told, complaints = process.communicate(timeout=PATIENCE_S)

    assert told.split("\n")[:-1] == [
        "first starting", "first well", "second starting", "second well", "all up",
        "all stopping", "second stopped", "first stopped", "all stopped",
    ]  # fmt: skip
    assert (process.returncode, complaints) == (0, "")


def test_after_stopping_no_process_is_left_not_even_one_in_a_session_of_its_own(start, web, tmp_path, settings):
    process = start(web("first"), web("second"))
    until(lambda: is_up(settings.storage.home))
    everybody = [child.pid for child in up_file.running(settings.storage.home).children]
    everybody += grandchildren(tmp_path, "first") + grandchildren(tmp_path, "second")
    assert all(alive(pid) for pid in everybody)

    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE_S)

    assert [pid for pid in everybody if alive(pid)] == []
    assert up_file.running(settings.storage.home) is None


def test_a_killed_child_is_started_again_and_what_it_left_behind_is_ended(start, web, tmp_path, settings):
    home = settings.storage.home
    start(web("only"))
    until(lambda: is_up(home))
    first_life = state_of(home, "only").pid

    os.kill(first_life, signal.SIGKILL)
    until(lambda: state_of(home, "only").state == "well" and state_of(home, "only").pid not in (0, first_life))

    assert state_of(home, "only").restarts == 1
    # The group ended with its leader, or its workers would have kept the port.
    assert not alive(grandchildren(tmp_path, "only")[1])


def test_a_job_whose_call_nobody_heard_is_called_for_once_the_server_is_back(start, web, tmp_path, settings):
    with listening(list.extend) as (heard, prefect):
        (tmp_path / "kedge.toml").write_text(f'[prefect]\napi_url = "{prefect}"\n')
        start(dataclasses.replace(web("server"), hears_calls=True))
        until(lambda: is_up(settings.storage.home))
        engine = open_database(settings.storage.database)
        job = queue_job(engine, "retrain", "drift")
        engine.dispose()

        os.kill(state_of(settings.storage.home, "server").pid, signal.SIGKILL)
        until(lambda: heard)

    assert [call["payload"] for call in heard] == [{"job_id": job.id}]


def test_children_do_not_outlive_a_supervisor_that_was_killed(start, web, tmp_path, settings):
    process = start(web("first"), plain("stubborn", STUBBORN))
    until(lambda: is_up(settings.storage.home))
    everybody = [child.pid for child in up_file.running(settings.storage.home).children]
    everybody += grandchildren(tmp_path, "first")
    time.sleep(0.5)  # until the stubborn one has stopped its ears

    process.kill()

    until(lambda: not any(alive(pid) for pid in everybody))


def test_a_second_up_in_the_same_folder_is_refused_and_the_first_goes_on(start, web, tmp_path, settings):
    first = start(web("only"))
    until(lambda: is_up(settings.storage.home))

    second = start(web("other"))
    _, complaint = second.communicate(timeout=PATIENCE_S)

    assert second.returncode == 1
    assert complaint == (
        f"`kedge up` already runs for {tmp_path} (process {first.pid}). Use it as it is (`kedge status`), "
        f"or end it first: press Ctrl-C in its terminal, or `kill {first.pid}`.\n"
    )
    assert is_up(settings.storage.home)
    assert not (tmp_path / "other.pids").exists()


def test_a_port_in_use_is_named_with_its_owner_and_its_setting_and_nothing_starts(start, web, tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        process = start(web("first"), web("second", port))
        _, complaint = process.communicate(timeout=PATIENCE_S)

    assert process.returncode == 1
    assert f"Port {port} on 127.0.0.1 is in use by process {os.getpid()} (" in complaint
    assert "set serve.port in kedge.toml (or KEDGE_SERVE__PORT) to a free port." in complaint
    assert not (tmp_path / "first.pids").exists()


def test_a_child_that_fails_at_its_start_stops_everybody_and_its_log_is_shown(start, web, tmp_path, settings):
    process = start(web("first"), plain("broken", "import sys; print('no film in the camera'); sys.exit(7)",
                    ready=Ready("http://127.0.0.1:1/")))  # fmt: skip
    told, complaint = process.communicate(timeout=PATIENCE_S)

    assert process.returncode == 1
    assert complaint.startswith("broken ended with exit code 7 while it was starting; everything was stopped again.")
    assert complaint.endswith("broken.log:\nno film in the camera\n")
    assert "first stopped" in told
    assert not any(alive(pid) for pid in grandchildren(tmp_path, "first"))


def test_a_child_that_never_becomes_well_is_given_up_after_its_time(start, free_port):
    url = f"http://127.0.0.1:{free_port()}/health"
    process = start(plain("mute", "import time; time.sleep(600)", ready=Ready(url, within_s=1.0)))
    _, complaint = process.communicate(timeout=PATIENCE_S)

    assert process.returncode == 1
    assert complaint.startswith(f"mute was not well within 1 s (asked {url});")


def test_a_second_ctrl_c_does_not_wait_for_a_stubborn_child(start, settings):
    process = start(plain("stubborn", STUBBORN, stop_s=600.0))
    until(lambda: is_up(settings.storage.home))
    stubborn = state_of(settings.storage.home, "stubborn").pid
    time.sleep(0.5)

    process.send_signal(signal.SIGINT)
    until(lambda: up_file.running(settings.storage.home).state == "stopping")
    assert alive(stubborn)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE_S)

    assert not alive(stubborn)


def test_ctrl_c_while_a_child_is_still_starting_stops_what_has_started(start, web, tmp_path, settings):
    never = plain("never", "import time; time.sleep(600)", ready=Ready("http://127.0.0.1:1/", within_s=600))
    process = start(web("first"), never)
    until(lambda: (child := state_of(settings.storage.home, "never")) is not None and child.pid)

    process.send_signal(signal.SIGINT)
    told, complaints = process.communicate(timeout=PATIENCE_S)

    assert told.split("\n")[-5:-1] == ["all stopping", "never stopped", "first stopped", "all stopped"]
    assert (process.returncode, complaints) == (0, "")
    assert not any(alive(pid) for pid in grandchildren(tmp_path, "first"))


@pytest.mark.slow
def test_a_watcher_that_fell_silent_is_reported_once(start, tmp_path, free_port):
    posted = []

    class Hook(BaseHTTPRequestHandler):
        def do_POST(self):
            posted.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_words):
            pass

    with HTTPServer(("127.0.0.1", 0), Hook) as hook:
        Thread(target=hook.serve_forever, daemon=True).start()
        (tmp_path / "kedge.toml").write_text(
            f"[monitor]\nsilent_after_s = 2.0\n[notify]\nwebhook = 'http://127.0.0.1:{hook.server_port}/'\n"
        )
        start(plain("idle", "import time; time.sleep(600)"))
        until(lambda: posted)
        time.sleep(7)
        hook.shutdown()

    assert [post["kind"] for post in posted] == ["watcher_silent"]
    assert "has not looked for" in posted[0]["text"]
