"""How often one caller may ask: a limit that holds for all workers of a machine together, kept in one small file."""

import contextlib
import fcntl
import logging
import math
import os
import struct
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from hashlib import blake2b
from pathlib import Path

from infra.settings import Settings

logger = logging.getLogger(__name__)

_SECOND = 1_000_000_000
_SLOT = struct.Struct("16sq")  # who, and when their next request is due: nanoseconds of the machine's clock
_SLOTS, _TRIED = 4096, 8
_FILE_BYTES = _SLOTS * _SLOT.size
_LOCK_S, _LOCK_PAUSE_S, _IMPATIENT_S = 0.5, 0.0001, 10.0


@dataclass(frozen=True)
class Rate:
    """
    One request every so many nanoseconds on average, and a second's worth (at least one) at once.

    This is the generic cell rate algorithm: of each caller one number is kept, the moment at which the next request
    would be due if they came evenly. Who is at most `ahead_ns` ahead of that may ask.
    """

    every_ns: int
    ahead_ns: int

    @classmethod
    def per_second(cls, requests: float) -> "Rate":
        # Rounded down, or the tenth of ten requests a second would come a nanosecond too early.
        every = max(1, int(_SECOND / requests))
        return cls(every, max(_SECOND, every))

    def ask(self, due_ns: int, now_ns: int) -> tuple[int, int]:
        """When the next request is due after this one, and how long to wait: 0 = it may pass, else `due` stays."""
        # Nobody can be further ahead: that number is from before the machine was started, or from another limit.
        due = due_ns if now_ns < due_ns <= now_ns + self.ahead_ns else now_ns
        wait = max(0, due + self.every_ns - self.ahead_ns - now_ns)
        return (due if wait else due + self.every_ns), wait


def request_rate(settings: Settings) -> "RequestRate | None":
    """The limit that a project's settings ask for; None where any number may come."""
    per_second = settings.serve.most_requests_per_s
    path = settings.storage.home / "serving" / "_access" / "requests"
    return RequestRate(path, Rate.per_second(per_second)) if per_second else None


class RequestRate:
    """
    Asked before every request; may be shared between threads and processes.

    Who has nothing due leaves no trace, so the file needs no tidying, and 4,096 callers find room who are all ahead
    at the same time; beyond that, who is least ahead is forgotten. A file that cannot be written limits nobody:
    answering is worth more than counting.
    """

    def __init__(self, path: Path, rate: Rate, clock: Callable[[], int] = time.monotonic_ns) -> None:
        # The monotonic clock is the same in all processes of a machine, and no change of its time moves it.
        self._rate, self._clock = rate, clock
        self._within = threading.Lock()
        self._impatient_until, self._complained = 0.0, False
        self._file: int | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            if os.fstat(self._file).st_size < _FILE_BYTES:
                with self._locked():
                    _fill(self._file)
        except OSError as error:
            logger.warning("requests are not limited, for %s cannot be used: %s", path, error)

    def wait_s(self, caller: str) -> int:
        """How many whole seconds this caller has to wait; 0 = the request may pass, and is counted."""
        key = blake2b(caller.encode(), digest_size=16).digest()
        first = int.from_bytes(key[:4]) % (_SLOTS - _TRIED + 1)
        try:
            with self._locked() as file:
                wait = self._ask(file, key, first) if file is not None else 0
        except OSError as error:
            if not self._complained:
                logger.warning("requests are not limited for now: %s", error)
            self._complained = True
            return 0
        return math.ceil(wait / _SECOND)

    def close(self) -> None:
        """Let go of the file; nobody is limited from then on."""
        with self._within:
            if self._file is not None:
                os.close(self._file)
            self._file = None

    def _ask(self, file: int, key: bytes, first: int) -> int:
        now = self._clock()
        data = os.pread(file, _TRIED * _SLOT.size, first * _SLOT.size).ljust(_TRIED * _SLOT.size, b"\0")
        slots = list(_SLOT.iter_unpack(data))
        mine = next((number for number, (who, _) in enumerate(slots) if who == key), None)
        if mine is None:
            mine = min(range(_TRIED), key=lambda number: self._ahead(slots[number][1], now))
            slots[mine] = (key, now)
        due, wait = self._rate.ask(slots[mine][1], now)
        if not wait:
            os.pwrite(file, _SLOT.pack(key, due), (first + mine) * _SLOT.size)
        return wait

    def _ahead(self, due: int, now: int) -> int:
        """How much is forgotten when this slot is given to somebody else."""
        return due - now if now < due <= now + self._rate.ahead_ns else 0

    @contextlib.contextmanager
    def _locked(self) -> Iterator[int | None]:
        """The file, for this process and thread alone; None once it was closed, when its number may be another's."""
        with self._within:
            file = self._file
            held = file is not None and self._lock(file)
            try:
                yield file
            finally:
                if file is not None and held:
                    fcntl.flock(file, fcntl.LOCK_UN)

    def _lock(self, file: int) -> bool:
        """
        Whether the lock was had.

        It is held for microseconds, and a killed process lets go of it; only one that was stopped in that very moment
        does not. Then a few requests too many are better than no answers, and others are not made to wait again.
        """
        begun = time.monotonic()
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if begun < self._impatient_until:
                    return False
                if time.monotonic() - begun > _LOCK_S:
                    logger.warning("a stopped process holds the count of requests; it is less exact now")
                    self._impatient_until = begun + _IMPATIENT_S
                    return False
                time.sleep(_LOCK_PAUSE_S)
            else:
                return True


def _fill(file: int) -> None:
    """Write the file out in full, instead of only stretching it: a disk that fills up later does not matter then."""
    size = os.fstat(file).st_size
    os.pwrite(file, bytes(max(0, _FILE_BYTES - size)), size)
