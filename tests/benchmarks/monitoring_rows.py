"""What a part of the monitoring benchmark hands in: rows of its table, and sentences beside it."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """
    One line of the table.

    Attributes:
        what: In words, with n, shift and setting.
        unit: "false alarms", "points", "CPU-s", …
        ours: None where we have none.
        others: Name of a rival to its figure.
        goal: In words; "" where there is none.
        met: None where there is no goal.
        why: Of a goal that is not met, in a sentence.
    """

    what: str
    unit: str
    ours: float | None
    others: Mapping[str, float | None] = field(default_factory=dict)
    goal: str = ""
    met: bool | None = None
    why: str = ""


@dataclass(frozen=True)
class Section:
    """A heading, what was measured and how in a few sentences, and the rows."""

    title: str
    words: tuple[str, ...]
    rows: tuple[Row, ...]
