"""Numbers that order labels: the last one given for an answer counts."""

import fcntl
import os
import time
from pathlib import Path

from service.spool import SpoolFull


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
