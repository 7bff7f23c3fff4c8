"""
Segments: the files in which every answer lies on local disk, as append-only frames.

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
import logging
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from infra.files import write_atomically

logger = logging.getLogger(__name__)

IMAGE, PREDICTION, LABEL, SHADOW = b"i", b"p", b"l", b"s"
OPEN, SEALED, SHIPPED, DAMAGED = ".open", ".sealed", ".shipped", ".damaged"

_HEAD = struct.Struct("<IIc")  # payload bytes, CRC-32 of kind and payload, kind
_MOST_PAYLOAD = 1 << 30


@dataclass(frozen=True)
class Frame:
    """One record: its kind and its encoded content."""

    kind: bytes
    payload: bytes


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
