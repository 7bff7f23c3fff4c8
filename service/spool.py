"""
The record of every answer on local disk, written before the answer leaves.

`service.segments` says how it lies there, `service.slots` who may write where.
"""

import errno
import logging
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from service.segments import OPEN, SEALED, Frame, encode_frame, highest, recover, waiting_bytes
from service.slots import claim

logger = logging.getLogger(__name__)

_FLUSH_S = 0.1
_FREE_CHECK_S = 1.0


class SpoolFull(Exception):
    """There is no room for a record; nothing of it was kept."""


@dataclass(frozen=True)
class SpoolLimits:
    """
    When a segment is sealed, and when the disk counts as full.

    Attributes:
        seal_s: age of a segment's first frame, seconds.
        seal_bytes: size of a segment.
        least_free_bytes: below this much free space nothing is written.
        most_bytes: of all slots together, not yet shipped, at which nothing more is written; 0 = any.
    """

    seal_s: float = 60.0
    seal_bytes: int = 64_000_000
    least_free_bytes: int = 200_000_000
    most_bytes: int = 0


class Spool:
    """
    One worker's slot, owned by a file lock until `close`; `write` may be called from several threads.

    The slot's name is stable: a worker that is started again gets the slot of the one that died.

    Attributes:
        seals: how many segments were completed; while it stays the same, one segment takes what is written.
    """

    def __init__(self, folder: Path, limits: SpoolLimits) -> None:
        self.limits = limits
        self.slot, self._lock_handle = claim(folder)
        self.folder = folder / self.slot
        recover(self.folder)
        self._next = highest(self.folder) + 1
        self._guard = threading.Lock()
        self._handle: int | None = None
        self._path = self.folder
        self._size = 0
        self._opened_at = 0.0
        self._dirty = False
        self.seals = 0
        self._no_room = self._why_no_room()
        self._stop = threading.Event()
        self._flusher = threading.Thread(target=self._flush_loop, name="spool-flush", daemon=True)
        self._flusher.start()

    @property
    def full(self) -> bool:
        """Whether the disk or the spool had no room when last looked at, at most a second ago."""
        return bool(self._no_room)

    def write(self, frames: Sequence[Frame], *, durable: bool = False) -> None:
        """
        Append the frames in one write; on return a killed process loses none of them.

        Args:
            frames: kept whole or not at all.
            durable: also wait until the disk has them, so that a power cut loses none.

        Raises:
            SpoolFull: there is no room; nothing of the frames was kept.
        """
        data = b"".join(map(encode_frame, frames))
        with self._guard:
            if self._no_room:
                raise SpoolFull(self._no_room)
            handle = self._append(data)
            # A copy of the handle: the segment may be sealed and closed while we wait for the disk.
            waiting = os.dup(handle) if durable else None
            if self._size >= self.limits.seal_bytes:
                self._seal_or_later()
        if waiting is not None:
            try:
                os.fdatasync(waiting)
            finally:
                os.close(waiting)

    def seal(self) -> None:
        """Complete the current segment, so that it can be shipped; nothing happens when it is empty."""
        with self._guard:
            self._seal()

    def close(self) -> None:
        """Seal and give the slot back."""
        self._stop.set()
        self._flusher.join(timeout=10)
        self.seal()
        os.close(self._lock_handle)

    def _append(self, data: bytes) -> int:
        if self._handle is None:
            self._handle = self._open()
        try:
            written = os.write(self._handle, data)
            if written != len(data):
                raise OSError(errno.ENOSPC, "the disk took only a part")
        except OSError as error:
            # A half frame in the middle would hide everything behind it.
            os.ftruncate(self._handle, self._size)
            self._no_room = f"{self._path} cannot grow: {error}"
            raise SpoolFull(self._no_room) from error
        self._size += written
        self._dirty = True
        return self._handle

    def _open(self) -> int:
        path = self.folder / f"{self._next:012d}{OPEN}"
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_CLOEXEC, 0o600)
        except OSError as error:
            self._no_room = f"{path} cannot be made: {error}"
            raise SpoolFull(self._no_room) from error
        self._path, self._next, self._size, self._opened_at = path, self._next + 1, 0, time.monotonic()
        return handle

    def _seal_or_later(self) -> None:
        """What was written stays written even where the disk cannot confirm it now."""
        try:
            self._seal()
        except OSError:
            logger.exception("%s could not be sealed; it is tried again", self._path)

    def _seal(self) -> None:
        if self._handle is None:
            return
        os.fdatasync(self._handle)
        # While it has no new name it is still the one that is written: no later segment may be shipped before it.
        if self._size:
            self._path.rename(self._path.with_suffix(SEALED))
        else:
            self._path.unlink()
        handle, self._handle, self._dirty = self._handle, None, False
        self.seals += 1
        os.close(handle)

    def _flush_loop(self) -> None:
        looked_at = 0.0
        while not self._stop.wait(_FLUSH_S):
            try:
                self._flush()
                if time.monotonic() - looked_at >= _FREE_CHECK_S:
                    looked_at = time.monotonic()
                    self._no_room = self._why_no_room()
            except OSError:
                logger.exception("the spool %s could not be flushed", self.folder)

    def _flush(self) -> None:
        with self._guard:
            if self._handle is None:
                return
            if time.monotonic() - self._opened_at >= self.limits.seal_s:
                self._seal()
                return
            if not self._dirty:
                return
            waiting, self._dirty = os.dup(self._handle), False
        try:
            os.fdatasync(waiting)
        finally:
            os.close(waiting)

    def _why_no_room(self) -> str:
        """In words; empty while there is room."""
        if _free_bytes(self.folder) < self.limits.least_free_bytes:
            return f"less than {self.limits.least_free_bytes:,} bytes are free at {self.folder}"
        if self.limits.most_bytes and waiting_bytes(self.folder.parent) >= self.limits.most_bytes:
            return (
                f"{self.folder.parent} holds {self.limits.most_bytes:,} bytes or more that were not shipped "
                "(serve.most_spool_mb); is the shipper running, and the object store there?"
            )
        return ""


def _free_bytes(folder: Path) -> int:
    state = os.statvfs(folder)
    return state.f_bavail * state.f_frsize
