"""Blocks: the unit of slow drift, a stretch of the calendar as long as the longest harmless cycle of the traffic."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from typing import Any

from infra.errors import UserError

# Every block is measured on exactly as many predictions: distances of unequal samples cannot be compared.
SMALL, LARGE = 200, 1_000
SIZES = (SMALL, LARGE)

_SECONDS = {"minute": 60, "hour": 3_600, "day": 86_400, "week": 604_800}


@dataclass(frozen=True)
class Measured:
    """
    What was found in a block, beside one reference.

    Attributes:
        epoch: Counts the references: only blocks of one epoch can be compared.
        distances: Size of the sample to detector to distance; a detector that could not be measured is missing.
        atypical: Channel to the share of atypical predictions, 0..1.
        ranks: Detector to the block's rank, in (0, 1); empty for a block that was not bet on.
        from_origin: What the origin's distances are, by family; empty where there is no origin.
        not_kept: Images that a new champion could not be shown, because they are not kept any more.
    """

    epoch: int
    distances: Mapping[int, Mapping[str, float]]
    atypical: Mapping[str, float] = field(default_factory=dict)
    ranks: Mapping[str, float] = field(default_factory=dict)
    from_origin: Mapping[str, float] = field(default_factory=dict)
    not_kept: int = 0


@dataclass(frozen=True)
class Block:
    """
    A block that is over.

    Attributes:
        number: Counts up per model name; blocks that were merged leave a gap.
        started_at, ended_at: Of the calendar; the end is outside.
        predictions: Of the champion of that time, when the block was closed; what came later is left out.
        model_version: Whose answers the sample holds.
        sample_key: Of the sample in the object store; "" once it is not kept any more.
    """

    number: int
    started_at: datetime
    ended_at: datetime
    predictions: int
    model_version: int
    measured: Measured
    sample_key: str

    def row(self) -> dict[str, Any]:
        """As the table `blocks` keeps it, without the model's name."""
        document = asdict(self.measured)
        # JSON has no numbers for keys.
        document["distances"] = {str(size): dict(found) for size, found in self.measured.distances.items()}
        return {
            "number": self.number,
            "started_at": self.started_at,
            "ended_at": self.ended_at,
            "predictions": self.predictions,
            "model_version": self.model_version,
            "distances": document,
            "sample_key": self.sample_key,
        }

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> "Block":
        document = dict(row["distances"])
        document["distances"] = {int(size): found for size, found in document["distances"].items()}
        named = {key: row[key] for key in ("number", "started_at", "ended_at", "predictions", "model_version")}
        return cls(**named, measured=Measured(**document), sample_key=row["sample_key"])


@dataclass(frozen=True)
class Span:
    """A stretch of the calendar that makes a block, and the champion's predictions in it; the end is outside."""

    start: datetime
    end: datetime
    predictions: int


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


def block_words(seconds: int) -> str:
    """The same the other way round: "1 day", "36 hours"."""
    for name, size in reversed(_SECONDS.items()):
        if seconds % size == 0:
            count = seconds // size
            return f"{count} {name}" if count == 1 else f"{count} {name}s"
    return f"{seconds} seconds"


@dataclass(frozen=True)
class Calendar:
    """
    Time in units of equal length, in UTC.

    Attributes:
        seconds: Length of a unit.
        offset: Seconds after 1970 at which unit 0 begins: 0, unless the units were made longer in the middle of one.
    """

    seconds: int
    offset: int = 0

    @classmethod
    def after(cls, moment: datetime | None, seconds: int) -> "Calendar":
        """The calendar in which a unit begins at this moment; None: at midnight of the first day of all."""
        return cls(seconds, 0 if moment is None else int(moment.timestamp()) % seconds)

    def unit_of(self, moment: datetime) -> int:
        """The unit that the moment lies in."""
        return (int(moment.timestamp()) - self.offset) // self.seconds

    def start_of(self, unit: int) -> datetime:
        return datetime.fromtimestamp(unit * self.seconds + self.offset, UTC)


def completed(
    counts: Mapping[int, int], calendar: Calendar, newest: datetime, whole_from: datetime | None
) -> list[Span]:
    """
    The blocks that are over, oldest first.

    A unit with fewer than 200 predictions is merged with the next, and so is the one in which the champion began,
    which is no whole one.

    Args:
        counts: Unit of the calendar to the champion's predictions in it.
        calendar: What the units are.
        newest: The newest time seen; a unit is over once that lies beyond its end.
        whole_from: When the champion began; None where that is not known.
    """
    found: list[Span] = []
    start, gathered = None, 0
    for unit in sorted(counts):
        begin, end = calendar.start_of(unit), calendar.start_of(unit + 1)
        if end > newest:
            break
        start, gathered = start or begin, gathered + counts[unit]
        began_inside = whole_from is not None and begin < whole_from < end
        if gathered >= SMALL and not began_inside:
            found.append(Span(start, end, gathered))
            start, gathered = None, 0
    return found


def comparable(blocks: Sequence[Block], from_number: int, epoch: int) -> list[Block]:
    """The blocks that may stand in a pool: of this epoch, and not before the first one that counts."""
    return [block for block in blocks if block.number >= from_number and block.measured.epoch == epoch]
