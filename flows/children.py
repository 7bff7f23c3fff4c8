"""The processes that `kedge up` keeps: what each is called, how it starts, and how it shows that it is well."""

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field

from flows import prefect_environment
from infra.settings import Settings


@dataclass(frozen=True)
class Listener:
    """A port that a child will listen on, and the setting that changes it."""

    host: str
    port: int
    setting: str


@dataclass(frozen=True)
class Ready:
    """
    How a child shows that it is well.

    Attributes:
        url: Answers below 400 when it is well; "" = it speaks no HTTP.
        heartbeat: Its name in the table of heartbeats, asked only without a url; "" = running is being well.
        within_s: Seconds it may take after its start.
    """

    url: str = ""
    heartbeat: str = ""
    within_s: float = 90.0


@dataclass(frozen=True)
class Child:
    """
    One process, the leader of a group of its own.

    Attributes:
        name: Names its log, `logs/<name>.log`, too.
        env: On top of the supervisor's own environment.
        stop_s: Seconds between asking it to stop and insisting.
        hears_calls: Jobs are called for over it; what waits is called for again once it is back.
    """

    name: str
    argv: tuple[str, ...]
    env: Mapping[str, str] = field(default_factory=dict)
    ready: Ready = field(default_factory=Ready)
    listens: tuple[Listener, ...] = ()
    stop_s: float = 5.0
    hears_calls: bool = False


def household(settings: Settings, service: Child) -> tuple[Child, ...]:
    """Everybody, in the order of starting; `service` is the caller's, since flows and service never meet."""
    own_server = () if settings.prefect.api_url else (prefect_server(settings),)
    pages = (evidently_ui(settings),) if settings.monitor.evidently_port else ()
    return (*own_server, service, shipper(settings), console(settings), runner(settings), painter(settings), *pages)


def service(settings: Settings, argv: tuple[str, ...], env: Mapping[str, str], stop_s: float) -> Child:
    """The classifier; its command and the time it needs to stop are known in `service.commands`, its address here."""
    serve = settings.serve
    # Alive, not ready: without a champion the service answers that there is none, and that is well.
    ready = Ready(url=f"http://{_reachable(serve.host)}:{serve.port}/livez")
    return Child("service", argv, env, ready, (Listener(serve.host, serve.port, "serve.port"),), stop_s)


def prefect_server(settings: Settings) -> Child:
    """Prefect's server with a SQLite file in the project's folder."""
    port = settings.prefect.port
    return Child(
        name="prefect",
        argv=(sys.executable, "-m", "prefect", "server", "start", "--host", "127.0.0.1", "--port", str(port)),
        env=prefect_environment.server_environment(settings),
        # The first start makes its tables: six quiet seconds, but half a minute was seen on a busy machine.
        ready=Ready(url=f"http://127.0.0.1:{port}/api/health", within_s=180.0),
        listens=(Listener("127.0.0.1", port, "prefect.port"),),
        hears_calls=True,
    )


def shipper(settings: Settings) -> Child:
    """Moves predictions and labels from the spool to the tables."""
    return Child("shipper", _module("service.shipper"), ready=Ready(heartbeat="shipper"), stop_s=8.0)


def console(settings: Settings) -> Child:
    """The pages for people, and the watcher's metrics."""
    where = settings.console
    return Child(
        name="console",
        argv=_module("monitoring.console"),
        ready=Ready(url=f"http://{_reachable(where.host)}:{where.port}/livez"),
        listens=(Listener(where.host, where.port, "console.port"),),
    )


def painter(settings: Settings) -> Child:
    """Draws the Evidently pages that the watcher asks for."""
    # Nobody waits for it: it takes seconds to load its library, and pages are drawn when it has.
    return Child("painter", _module("monitoring.evidently_page"))


def evidently_ui(settings: Settings) -> Child:
    """Evidently's own pages over the workspace that the painter fills."""
    host, port = settings.console.host, settings.monitor.evidently_port
    return Child(
        name="evidently",
        argv=_module("monitoring.evidently_pages.ui"),
        # Not asked whether it is well: the first question loads a library of hundreds of megabytes.
        listens=(Listener(host, port, "monitor.evidently_port"),),
    )


def runner(settings: Settings) -> Child:
    """Starts the flows on their schedules and at their events."""
    # A training job hangs below it; its trainer writes a checkpoint when it is asked to stop.
    return Child(
        name="runner",
        argv=_module("flows.runner"),
        env=prefect_environment.environment(settings),
        ready=Ready(heartbeat="runner", within_s=180.0),
        stop_s=10.0,
    )


def _module(name: str) -> tuple[str, ...]:
    return (sys.executable, "-m", name)


def _reachable(host: str) -> str:
    """Where to ask a server that listens everywhere."""
    return {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104 - read, not listened on
