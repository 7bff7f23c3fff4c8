"""Time and identifiers: always UTC, always sortable."""

import os
import threading
import uuid
from datetime import UTC, datetime, timedelta

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)
_ID_BYTES, _DRAWN_BYTES = 10, 2560


def now() -> datetime:
    """The present moment, aware, in UTC."""
    return datetime.now(UTC)


def new_id(at: datetime | None = None) -> str:
    """A UUIDv7 (RFC 9562, section 5.7): 48 bits of milliseconds, then random bits, so ids sort by time."""
    # In whole numbers: 1000 times a float of seconds may fall just short of its millisecond.
    milliseconds = ((at or now()) - _EPOCH) // _MILLISECOND
    random_bits = _randomness.take() & ((1 << 74) - 1)
    value = (milliseconds & ((1 << 48) - 1)) << 80
    value |= 0x7 << 76 | (random_bits >> 62) << 64
    value |= 0b10 << 62 | random_bits & ((1 << 62) - 1)
    digits = f"{value:032x}"
    return f"{digits[:8]}-{digits[8:12]}-{digits[12:16]}-{digits[16:20]}-{digits[20:]}"


class _Randomness:
    """Random bytes, drawn from the system a few hundred ids at a time: each draw hands the interpreter to others."""

    def __init__(self) -> None:
        self._guard, self._left = threading.Lock(), b""

    def take(self) -> int:
        """The next 80 bits, which nobody else gets."""
        with self._guard:
            if not self._left:
                self._left = os.urandom(_DRAWN_BYTES)
            taken, self._left = self._left[:_ID_BYTES], self._left[_ID_BYTES:]
        return int.from_bytes(taken)

    def start_anew(self) -> None:
        """A forked child must not give out what its parent will; nor wait for a lock that nobody there holds."""
        self.__init__()  # type: ignore[misc] # the state of a new one is exactly what is meant


_randomness = _Randomness()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_randomness.start_anew)


def time_of_id(identifier: str) -> datetime | None:
    """When a UUIDv7 was made; None for an identifier that is not one (a client's own, say)."""
    try:
        value = uuid.UUID(identifier)
    except ValueError:
        return None
    if value.version != 7:  # noqa: PLR2004 - the version number of RFC 9562
        return None
    try:
        return _EPOCH + (value.int >> 80) * _MILLISECOND
    except OverflowError:
        return None  # 48 bits of milliseconds reach beyond the year 9999; ours never do
