import subprocess
import sys

import pytest

from flows import children, prefect_environment
from infra.settings import load


def test_the_own_server_is_asked_every_second_and_keeps_its_files_in_the_project(settings):
    environment = prefect_environment.server_environment(settings)

    assert environment["PREFECT_API_URL"] == "http://127.0.0.1:4200/api"
    assert environment["PREFECT_RUNNER_POLL_FREQUENCY"] == "1"
    assert environment["PREFECT_SERVER_DATABASE_CONNECTION_URL"].endswith("/.kedge/prefect/prefect.db")
    assert environment["PREFECT_SERVER_ANALYTICS_ENABLED"] == "false"


def test_a_teams_server_is_neither_started_nor_hurried(tmp_path):
    settings = load(tmp_path, {"KEDGE_PREFECT__API_URL": "https://prefect.example/api/"})

    names = [child.name for child in children.household(settings, children.service(settings, ("serve",), {}, 5.0))]

    assert names == ["service", "shipper", "console", "runner", "painter", "evidently"]
    assert prefect_environment.api_url(settings) == "https://prefect.example/api"
    assert "PREFECT_RUNNER_POLL_FREQUENCY" not in prefect_environment.environment(settings)


@pytest.mark.slow
def test_prefect_takes_every_name_we_set(settings):
    # A misspelt variable is silently nothing to Prefect; asking what it understood is the only proof.
    script = (
        "from infra.settings import load; from pathlib import Path; import os; "
        "from flows import prefect_environment as e; "
        f"s = load(Path({str(settings.root)!r}), {{}}); os.environ.update(e.server_environment(s)); "
        "from prefect.settings import get_current_settings as c; p = c(); "
        "print(p.api.url, p.home, p.runner.poll_frequency, p.flows.heartbeat_frequency, p.cli.prompt, "
        "p.server.analytics_enabled, p.server.database.connection_url.get_secret_value(), "
        "sorted(p.server.services.db_vacuum.enabled), p.server.services.db_vacuum.retention_period.days)"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)

    prefect = settings.storage.home / "prefect"
    assert done.stdout.strip() == (
        f"http://127.0.0.1:4200/api {prefect} 1 30 False False sqlite+aiosqlite:///{prefect}/prefect.db "
        "['events', 'flow_runs'] 7"
    )
