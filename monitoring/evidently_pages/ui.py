"""
`python -m monitoring.evidently_pages.ui`: Evidently's own pages over the project's workspace.

Until somebody comes it is a socket that listens: the library, seconds of a processor and hundreds of megabytes, is
loaded at the first visit, which waits in the socket's queue meanwhile. Read-only, and it asks nobody for anything.
"""

import logging
import os
import secrets
import select
import signal
import socket
import sys
from contextlib import ExitStack
from ipaddress import ip_address
from pathlib import Path
from typing import Any

from infra import logs
from infra.errors import UserError
from infra.settings import Settings, load

_log = logging.getLogger(__name__)

# Its pages are one script of its own, which styles and draws by itself; nothing is fetched from anywhere else.
_POLICY = (
    b"default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; worker-src 'self' blob:; "
    b"style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; font-src 'self' data:; connect-src 'self'; "
    b"base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)


def main() -> int:
    """Serve until stopped; exit code 1 with one clear message where that cannot begin."""
    try:
        settings = load(Path(os.environ.get("KEDGE_ROOT") or Path.cwd()))
        logs.configure("evidently", settings.storage.home)
        with ExitStack() as stack:
            listener = stack.enter_context(_listen(settings))
            if _wait(listener):
                _serve(settings, listener)
    except UserError as error:
        sys.stderr.write(f"{error}\n")
        return error.exit_code
    return 0


def _listen(settings: Settings) -> socket.socket:
    host, port = settings.console.host, settings.monitor.evidently_port
    if port == 0:
        raise UserError(
            "monitor.evidently_port is 0, so Evidently's pages are off. Expected a free TCP port; the reports of "
            "single windows are on the console all the same."
        )
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError as error:
        listener.close()
        raise UserError(
            f"Evidently's pages cannot be served on {host}, port {port}: {error.strerror}. End whoever listens there, "
            "or set monitor.evidently_port to a free port (0 = without these pages)."
        ) from error
    listener.listen(128)
    return listener


def _wait(listener: socket.socket) -> bool:
    """True once somebody comes; False when asked to stop before."""
    asked, ask = os.pipe()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: os.write(ask, b"."))
    _log.info("Waiting for a visitor before Evidently is loaded")
    waiting: list[Any] = [listener, asked]
    ready = select.select(waiting, [], [])[0]
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, signal.SIG_DFL)
    os.close(asked)
    os.close(ask)
    return listener in ready


def _serve(settings: Settings, listener: socket.socket) -> None:
    # Only now, for all of this is what waiting is to save.
    import uvicorn
    from starlette.middleware.trustedhost import TrustedHostMiddleware

    from monitoring.evidently_pages.place import workspace_folder
    from monitoring.evidently_pages.workspace import open_workspace

    home = settings.storage.home
    # Its server watches the folders that are there when it starts.
    open_workspace(home, settings.project.name)
    from evidently.ui.service.app import create_app, get_config

    # Whoever can reach these pages could otherwise delete the project: nobody is told this secret.
    config = get_config(workspace=str(workspace_folder(home)), secret=secrets.token_urlsafe(32))
    app = TrustedHostMiddleware(
        _with_policy(create_app(config)), _allowed_hosts(settings.console.host), www_redirect=False
    )
    _log.info("Evidently is loaded")
    uvicorn.Server(uvicorn.Config(app, log_config=None, access_log=False)).run(sockets=[listener])


def _with_policy(app: Any) -> Any:
    async def answer(scope: Any, receive: Any, send: Any) -> None:
        async def sending(message: Any) -> None:
            if message["type"] == "http.response.start":
                more = [(b"content-security-policy", _POLICY), (b"x-content-type-options", b"nosniff")]
                message["headers"] = [*message.get("headers", ()), *more]
            await send(message)

        await app(scope, receive, sending)

    return answer


def _allowed_hosts(host: str) -> list[str]:
    """On loopback only this machine's own names are answered: a page elsewhere cannot read us by a name of its own."""
    try:
        on_loopback = host == "localhost" or ip_address(host).is_loopback
    except ValueError:
        on_loopback = False
    return ["localhost", "127.0.0.1", "::1", "[", host] if on_loopback else ["*"]


if __name__ == "__main__":
    sys.exit(main())
