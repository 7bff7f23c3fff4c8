"""The files by which other processes see a running `kedge up`: the lock that only one can hold, and its state."""

import contextlib
import dataclasses
import fcntl
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import psutil

from infra.errors import UserError
from infra.files import write_atomically

_SAME_START_S = 1.0


@dataclass(frozen=True)
class ChildState:
    """
    One child as it was when the state was written.

    Attributes:
        pid: 0 while it is not running.
        born: Start of that process, seconds since 1970: a number alone may have been given to somebody else.
        state: waiting | starting | well | down | stopped.
        restarts: How often it has been started again since `kedge up` began.
        url: Where it answers; "" = nowhere.
    """

    name: str
    pid: int
    born: float
    state: str
    restarts: int
    url: str
    log: str


@dataclass(frozen=True)
class UpState:
    """`kedge up` in one folder; `state` is starting | up | stopping, `started_at` in ISO 8601, UTC."""

    pid: int
    born: float
    state: str
    started_at: str
    children: tuple[ChildState, ...]


@contextlib.contextmanager
def only_one(home: Path) -> Iterator[None]:
    """
    Hold the folder's lock; the kernel lets go of it with the process, however that ends.

    Raises:
        UserError: another `kedge up` holds it.
    """
    home.mkdir(parents=True, exist_ok=True)
    path = home / "up.lock"
    with path.open("a+") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            lock.seek(0)
            holder = lock.read().strip() or "unknown"
            raise UserError(
                f"`kedge up` already runs for {home.parent} (process {holder}). Use it as it is (`kedge status`), "
                f"or end it first: press Ctrl-C in its terminal, or `kill {holder}`."
            ) from error
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        try:
            yield
        finally:
            (home / "up.json").unlink(missing_ok=True)
            lock.truncate(0)


def write(home: Path, state: UpState) -> None:
    """Replace the state as a whole."""
    write_atomically(home / "up.json", json.dumps(dataclasses.asdict(state), indent=2))


def running(home: Path) -> UpState | None:
    """The `kedge up` that runs for this folder now; None when none does."""
    state = last_written(home)
    return state if state is not None and alive(state.pid, state.born) else None


def last_written(home: Path) -> UpState | None:
    """What was written last, also by one that was killed; None after an orderly end."""
    try:
        document = json.loads((home / "up.json").read_text())
        children = tuple(ChildState(**child) for child in document.pop("children"))
        return UpState(**document, children=children)
    except FileNotFoundError:
        return None
    except (ValueError, TypeError, KeyError):
        # Of another version of Kedge, and so not of one that runs now.
        return None


def alive(pid: int, born: float) -> bool:
    """True when the process with this number is the one that was meant."""
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - born) < _SAME_START_S
        return bool(same and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def born(pid: int) -> float:
    """When the process started, seconds since 1970; 0 when it is gone."""
    try:
        return float(psutil.Process(pid).create_time())
    except psutil.NoSuchProcess:
        return 0.0
