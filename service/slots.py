"""Slots of a spool: a folder for each worker, held by a file lock, with a name that no other home gives."""

import contextlib
import fcntl
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from infra.clock import new_id
from infra.files import write_atomically


def claim(folder: Path) -> tuple[str, int]:
    """
    The first slot that nobody holds, and the handle that holds it until it is closed.

    Its name contains the spool's own id, so that no two homes share one; a worker that is started again gets the slot
    of the one that died.
    """
    folder.mkdir(parents=True, exist_ok=True)
    home = _home_id(folder)
    number = 0
    while True:
        slot = f"{home}-{number}"
        (folder / slot).mkdir(exist_ok=True)
        handle = _lock(folder / slot)
        if handle is not None:
            return slot, handle
        number += 1


def slots(folder: Path) -> Iterable[Path]:
    """Every slot of a spool."""
    return sorted(path.parent for path in folder.glob("*/lock"))


@contextlib.contextmanager
def borrowed(folder: Path) -> Iterator[bool]:
    """Hold a slot's lock for a moment if nobody else does; the value says whether."""
    handle = _lock(folder)
    try:
        yield handle is not None
    finally:
        if handle is not None:
            os.close(handle)


def _home_id(folder: Path) -> str:
    path = folder / "id"
    handle = os.open(folder / "id.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        if not path.exists():
            write_atomically(path, new_id()[-12:])
        return path.read_text().strip()
    finally:
        os.close(handle)


def _lock(folder: Path) -> int | None:
    handle = os.open(folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle
