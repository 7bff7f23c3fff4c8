"""
The record of every answer on local disk: append-only frames, written before the answer leaves.

A frame is `length, CRC-32, kind, payload`. One segment file holds image bytes, predictions and labels in the order in
which they happened, so that one write makes an answer durable against a killed process, one `fdatasync`
against a power cut, and one scan repairs a torn tail.

    spool/<slot>/lock                  held by the process that writes the slot, or repairs it
    spool/<slot>/000000000007.open     being written
    spool/<slot>/000000000007.sealed   complete, waiting to be shipped
    spool/<slot>/000000000007.shipped  empty: remembers the highest number, so that none is used twice
    spool/<slot>/000000000007.damaged  what could not be read of it, for a person to look at
"""

import contextlib
import errno
import fcntl
import logging
import os
import struct
import threading
import time
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from infra.clock import new_id
from infra.files import write_atomically

logger = logging.getLogger(__name__)

IMAGE, PREDICTION, LABEL, SHADOW = b"i", b"p", b"l", b"s"
OPEN, SEALED, SHIPPED, DAMAGED = ".open", ".sealed", ".shipped", ".damaged"

_HEAD = struct.Struct("<IIc")  # payload bytes, CRC-32 of kind and payload, kind
_MOST_PAYLOAD = 1 << 30
_FLUSH_S = 0.1
_FREE_CHECK_S = 1.0


class SpoolFull(Exception):
    """There is no room for a record; nothing of it was kept."""


@dataclass(frozen=True)
class Frame:
    """One record: its kind and its encoded content."""

    kind: bytes
    payload: bytes


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
        self.slot, self._lock_handle = _claim(folder)
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


def encode_frame(frame: Frame) -> bytes:
    """The frame as it lies in a segment."""
    checksum = zlib.crc32(frame.payload, zlib.crc32(frame.kind))
    return _HEAD.pack(len(frame.payload), checksum, frame.kind) + frame.payload


def frames_of(path: Path) -> Iterator[Frame]:
    """The whole frames of a segment, up to its end or to the first one that is torn or damaged."""
    with path.open("rb") as file:
        while True:
            head = file.read(_HEAD.size)
            if len(head) < _HEAD.size:
                return
            length, checksum, kind = _HEAD.unpack(head)
            payload = file.read(length) if length <= _MOST_PAYLOAD else b""
            if len(payload) != length or zlib.crc32(payload, zlib.crc32(kind)) != checksum:
                return
            yield Frame(kind, payload)


def whole_bytes(path: Path) -> int:
    """How much of a segment is whole frames: its size, unless its tail is torn or damaged."""
    return sum(_HEAD.size + len(frame.payload) for frame in frames_of(path))


def recover(folder: Path) -> None:
    """
    Cut the torn tail of a segment whose writer died and seal it; the caller holds the slot's lock.

    A killed process tears nothing: it loses a write or keeps it. A tail is torn by a power cut, and then
    those answers were written but had not reached the disk yet. A bad sector tears in the middle: what is cut off
    is kept beside it as a `.damaged` file, for there may be whole frames in it.
    """
    for path in segments(folder, OPEN):
        whole = whole_bytes(path)
        size = path.stat().st_size
        with path.open("r+b") as file:
            if whole < size:
                file.seek(whole)
                _set_aside(path, file.read())
            file.truncate(whole)
            os.fsync(file.fileno())
        if whole:
            path.rename(path.with_suffix(SEALED))
        else:
            path.unlink()


def _set_aside(path: Path, torn: bytes) -> None:
    """Before the cut, so that a recovery that is broken off finds the tail still there."""
    try:
        write_atomically(path.with_suffix(DAMAGED), torn)
    except OSError:
        # A full disk must not keep a worker from starting: answers are worth more than a tail that nobody can read.
        logger.exception("%s: the last %d bytes are torn and were lost", path, len(torn))
        return
    logger.warning("%s: the last %d bytes are torn; they are kept as %s", path, len(torn), DAMAGED)


def segments(folder: Path, suffix: str) -> list[Path]:
    """The slot's segments in one state, oldest first."""
    return sorted(folder.glob(f"*{suffix}"))


def highest(folder: Path) -> int:
    """The highest segment number that the slot ever used; 0 before the first."""
    return max((int(path.stem) for path in folder.iterdir() if path.stem.isdecimal()), default=0)


def waiting_bytes(folder: Path) -> int:
    """The size of everything in a spool that was not shipped yet, over all its slots."""
    total = 0
    for path in (*folder.glob(f"*/*{OPEN}"), *folder.glob(f"*/*{SEALED}")):
        with contextlib.suppress(FileNotFoundError):  # sealed or shipped in this moment
            total += path.stat().st_size
    return total


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


def next_sequence(folder: Path) -> int:
    """
    A number for a label that is higher than every number given before in this spool, by any process.

    Microseconds since 1970, so that several machines sort nearly as their clocks do, but never backwards:
    a clock that jumps back only makes it count by one.

    Raises:
        SpoolFull: the disk has no room to remember the number, so that none is given.
    """
    try:
        handle = os.open(folder / "sequence", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise SpoolFull(f"{folder / 'sequence'} cannot be made: {error}") from error
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        text = os.pread(handle, 32, 0)
        before = int(text) if text.isdigit() else 0  # a power cut may leave zeros where the number was
        sequence = max(time.time_ns() // 1000, before + 1)
        os.pwrite(handle, b"%020d" % sequence, 0)
        return sequence
    except OSError as error:
        raise SpoolFull(f"{folder / 'sequence'} cannot be written: {error}") from error
    finally:
        os.close(handle)


def _claim(folder: Path) -> tuple[str, int]:
    """The first slot that nobody holds. Its name contains the spool's own id, so that no two homes share one."""
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


def _free_bytes(folder: Path) -> int:
    state = os.statvfs(folder)
    return state.f_bavail * state.f_frsize
