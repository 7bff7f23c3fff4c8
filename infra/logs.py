"""Where a process writes what it did."""

import logging
import os
import sys
from pathlib import Path

_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def configure(process: str, home: Path, *, level: int = logging.INFO, echo: bool = True) -> None:
    """Send this process's log to `home/logs/<process>.log`, and with `echo` to stderr; calling again replaces both."""
    path = home / "logs" / f"{process}.log"
    path.parent.mkdir(parents=True, exist_ok=True)
    handlers: list[logging.Handler] = [logging.FileHandler(path)]
    # `kedge up` sends its children's stderr to that very file: then every line would stand there twice.
    if echo and not _is_stderr(path):
        handlers.append(logging.StreamHandler(sys.stderr))
    for chatty in ("alembic", "httpx"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    logging.basicConfig(level=level, format=_FORMAT, handlers=handlers, force=True)


def _is_stderr(path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(sys.stderr.fileno()), path.stat())
    except (OSError, ValueError):
        return False  # stderr is closed, or no file


def tail(path: Path, lines: int = 20) -> str:
    """The last lines of a log, or a note that there is none."""
    if not path.exists():
        return f"(no log at {path})"
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) or "(the log is empty)"
