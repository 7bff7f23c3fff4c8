"""Evidently's pages under `kedge up`: a socket until somebody comes, then its real server, read-only."""

import os
import re
import socket
import subprocess
import sys
import time

import httpx
import psutil
import pytest

from flows import children, readiness
from infra.errors import UserError
from infra.settings import load
from monitoring.evidently_pages.place import project_id


@pytest.fixture
def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def start(tmp_path, free_port):
    """The real process, over a project that has no workspace yet."""
    started = []

    def one(port=free_port):
        environment = {
            **os.environ,
            "KEDGE_ROOT": str(tmp_path),
            "KEDGE_MONITOR__EVIDENTLY_PORT": str(port),
            "PYTHONSAFEPATH": "1",
        }
        argv = [sys.executable, "-m", "monitoring.evidently_pages.ui"]
        process = subprocess.Popen(argv, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        started.append(process)
        return process

    yield one
    for process in started:
        process.kill()
        process.communicate(timeout=20)


def test_it_is_kept_like_the_others_unless_its_port_is_0(tmp_path, settings):
    without = load(tmp_path, {"KEDGE_MONITOR__EVIDENTLY_PORT": "0"})
    service = children.service(settings, ("serve",), {}, 5.0)

    assert children.household(settings, service)[-1].name == "evidently"
    assert "evidently" not in [child.name for child in children.household(without, service)]


def test_a_taken_port_is_named_with_its_setting(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        settings = load(tmp_path, {"KEDGE_MONITOR__EVIDENTLY_PORT": str(port)})

        with pytest.raises(UserError, match=rf"{port}.*") as refused:
            readiness.check_ports((children.evidently_ui(settings),))

    assert "monitor.evidently_port" in str(refused.value)


def test_started_by_hand_on_a_taken_port_or_switched_off_it_says_what_to_change(start):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        clash = start(taken.getsockname()[1])
        said, _ = clash.communicate(timeout=60)
    off, _ = (switched_off := start(0)).communicate(timeout=60)

    assert clash.returncode == switched_off.returncode == 1
    assert "set monitor.evidently_port to a free port" in said
    assert "monitor.evidently_port is 0" in off


@pytest.mark.slow
def test_it_sleeps_until_somebody_comes_and_then_answers_but_lets_nobody_write(start, free_port, tmp_path):
    process = start()
    wait_until_it_listens(process, free_port)
    # A library of hundreds of megabytes is not there yet.
    assert psutil.Process(process.pid).memory_info().rss < 60e6
    here = f"http://127.0.0.1:{free_port}"

    projects = httpx.get(f"{here}/api/projects/", timeout=120).json()

    identifier = str(project_id(load(tmp_path).project.name))
    assert [each["id"] for each in projects] == [identifier]
    tabs = httpx.get(f"{here}/api/v2/dashboards/{identifier}").json()["tabs"]
    assert [tab["title"] for tab in tabs] == ["Evidence", "Drift", "Performance"]
    page = httpx.get(f"{here}/projects/{identifier}")
    assert "connect-src 'self'" in page.headers["content-security-policy"]
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page.text)
    assert httpx.delete(f"{here}/api/projects/{identifier}").status_code == 403
    assert httpx.get(f"{here}/api/projects/", headers={"host": "elsewhere.example"}).status_code == 400
    process.terminate()
    process.communicate(timeout=30)
    assert process.returncode in {0, -15}


@pytest.mark.slow
def test_asked_to_stop_before_anybody_came_it_ends_at_once(start, free_port):
    process = start()
    wait_until_it_listens(process, free_port)

    process.terminate()

    process.communicate(timeout=30)
    assert process.returncode == 0


def wait_until_it_listens(process, port):
    """Looked up, not tried: a connection would be the visitor that it waits for."""
    for _ in range(600):
        assert process.poll() is None, process.communicate()[0]
        found = psutil.Process(process.pid).net_connections(kind="tcp")
        if any(one.laddr.port == port and one.status == psutil.CONN_LISTEN for one in found):
            return
        time.sleep(0.1)
    raise AssertionError(f"nobody listens on port {port}")
