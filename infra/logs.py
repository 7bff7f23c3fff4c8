"""Where a process writes what it did."""

import logging
import sys
from pathlib import Path

_FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"


def configure(process: str, home: Path, *, level: int = logging.INFO) -> None:
    """Send this process's log to stderr and to `home/logs/<process>.log`; calling again replaces both."""
    folder = home / "logs"
    folder.mkdir(parents=True, exist_ok=True)
    handlers: list[logging.Handler] = [
        logging.StreamHandler(sys.stderr),
        logging.FileHandler(folder / f"{process}.log", delay=True),
    ]
    logging.basicConfig(level=level, format=_FORMAT, handlers=handlers, force=True)


def tail(path: Path, lines: int = 20) -> str:
    """The last lines of a log, or a note that there is none."""
    if not path.exists():
        return f"(no log at {path})"
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:]) or "(the log is empty)"
