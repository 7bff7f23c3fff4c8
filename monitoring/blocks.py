"""Blocks: the unit of slow drift, the longest harmless cycle of the traffic; here they are counted, not yet ranked."""

import re
from collections.abc import Sequence
from datetime import datetime

from infra.errors import UserError
from monitoring.watch_state import BlockCount

_LEAST_PREDICTIONS = 200
_SECONDS = {"minute": 60, "hour": 3_600, "day": 86_400, "week": 604_800}


def block_seconds(text: str) -> int:
    """
    The length of a block such as "1 day", "6 hours", "2 weeks", in seconds.

    Raises:
        UserError: the text is none of these.
    """
    match = re.fullmatch(r"\s*(\d+)\s*(minute|hour|day|week)s?\s*", text.lower())
    if match is None or int(match[1]) == 0:
        raise UserError(f"monitor.block is '{text}'; expected a number of minutes, hours, days or weeks, as '1 day'.")
    return int(match[1]) * _SECONDS[match[2]]


def count_blocks(current: BlockCount, times: Sequence[datetime], seconds: int, done: int) -> tuple[BlockCount, int]:
    """
    The block that traffic is in after predictions at `times`, and the whole blocks so far.

    A block with fewer than 200 predictions is merged with the next.
    """
    for moment in times:
        number = int(moment.timestamp()) // seconds
        if current.number == 0:
            current = BlockCount(number, 0)
        if number > current.number:
            whole = current.predictions >= _LEAST_PREDICTIONS
            done += whole
            current = BlockCount(number, 0 if whole else current.predictions)
        current = BlockCount(current.number, current.predictions + 1)
    return current, done
