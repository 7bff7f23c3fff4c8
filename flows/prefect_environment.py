"""
The environment of every process that talks to Prefect, said in one place.

Prefect reads its settings while it is imported, so a process calls `apply` before its first `import prefect`.
"""

import logging
import os
import sys
from collections.abc import Mapping

from infra.settings import Settings

_WEEK_S = 7 * 24 * 3600


def apply(settings: Settings) -> None:
    """
    Put this process under the project's Prefect.

    Raises:
        RuntimeError: prefect was imported before, with other settings: the caller's imports are in the wrong order.
    """
    wanted = environment(settings)
    late = [name for name, value in wanted.items() if os.environ.get(name) != value]
    if late and "prefect.settings" in sys.modules:
        raise RuntimeError(f"prefect was imported before its environment was set: {', '.join(late)}")
    os.environ.update(wanted)


def quieten() -> None:
    """Keep the log for what happened: the runner asks the server every second, and httpx tells of each time."""
    logging.getLogger("httpx").setLevel(logging.WARNING)


def api_url(settings: Settings) -> str:
    """The address of Prefect's API: the team's, or that of the server `kedge up` starts."""
    return settings.prefect.api_url.rstrip("/") or f"http://127.0.0.1:{settings.prefect.port}/api"


def environment(settings: Settings) -> Mapping[str, str]:
    """What a client of Prefect needs: where the server is, where its own files go, and silence."""
    client = {
        "PREFECT_API_URL": api_url(settings),
        "PREFECT_HOME": str(settings.storage.home / "prefect"),
        "PREFECT_CLI_PROMPT": "false",
        "PREFECT_LOGGING_LEVEL": "WARNING",
        # Our own loggers go on writing where infra.logs sends them, outside a run too.
        "PREFECT_LOGGING_TO_API_WHEN_MISSING_FLOW": "ignore",
        # The lowest it allows; the automation that notices dead runs counts on it.
        "PREFECT_FLOWS_HEARTBEAT_FREQUENCY": "30",
        "DO_NOT_TRACK": "1",
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
    }
    if not settings.prefect.api_url:
        # One runner beside its server may ask every second; a team's server keeps Prefect's own ten.
        client["PREFECT_RUNNER_POLL_FREQUENCY"] = "1"
    return client


def server_environment(settings: Settings) -> Mapping[str, str]:
    """What the server of `kedge up` needs besides: its own SQLite file, whatever the user's shell says, kept small."""
    file = settings.storage.home / "prefect" / "prefect.db"
    return {
        **environment(settings),
        "PREFECT_SERVER_DATABASE_CONNECTION_URL": f"sqlite+aiosqlite:///{file}",
        "PREFECT_SERVER_LOGGING_LEVEL": "WARNING",
        # A look every few seconds is a flow run every few seconds: without this the file grows for ever.
        "PREFECT_SERVER_SERVICES_DB_VACUUM_ENABLED": "events,flow_runs",
        "PREFECT_SERVER_SERVICES_DB_VACUUM_RETENTION_PERIOD": str(_WEEK_S),
    }
