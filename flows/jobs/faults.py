"""Which faults are the machines' own, so that the same work may succeed a little later."""

import errno

from flows.launcher import Killed
from infra.database import DatabaseUnreachable
from infra.errors import UserError

_PAUSES_S = (5.0, 20.0, 60.0)
# A network, a mounted disk or a server that went away. A full disk, a missing file, a forbidden one: a person's turn.
_PASSING = frozenset(
    {errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENETDOWN, errno.ENETUNREACH, errno.EHOSTDOWN, errno.EHOSTUNREACH}
)
_OF_A_TABLE = "Generic "  # as deltalake begins the message when its object store does not answer


def infrastructure_fault(error: BaseException) -> str:
    """What was at fault, in words, where it is worth trying again; "" for a person's or the code's mistake."""
    if isinstance(error, Killed):
        return str(error).split(". ", 1)[0]
    if isinstance(error, UserError):
        return ""
    if isinstance(error, DatabaseUnreachable):
        return f"the database is away: {_first_line(error)}"
    if isinstance(error, OSError):
        passing = isinstance(error, ConnectionError | TimeoutError) or error.errno in _PASSING
        away = passing or str(error).startswith(_OF_A_TABLE)
        return f"a disk, a network or the object store is away: {_first_line(error)}" if away else ""
    from infra.bucket import is_away

    if is_away(error):
        return f"the object store is away: {_first_line(error)}"
    return ""


def pause_s(attempts: int) -> float:
    """Seconds to wait after so many attempts."""
    return _PAUSES_S[min(max(attempts, 1), len(_PAUSES_S)) - 1]


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
