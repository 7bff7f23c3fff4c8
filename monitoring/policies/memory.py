"""What the decision remembers from one look to the next; it lies in the watcher's state."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from monitoring.performance import Interval
from monitoring.policies.records import Measured


@dataclass(frozen=True)
class PolicyMemory:
    """
    Attributes:
        version: Of the champion that `measured` is about; 0 before the first.
        measured: Accuracy by labels as it was counted last.
        moments_until: Moments of the cron line up to here were considered; None while there is no line.
        key: Of the newest decision.
        refused_at: When the newest candidate that came to nothing was begun; labels are counted from there.
    """

    version: int = 0
    measured: Measured | None = None
    moments_until: datetime | None = None
    key: str = "||"
    refused_at: datetime | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "measured": None if self.measured is None else dataclasses.asdict(self.measured),
            "moments_until": _text(self.moments_until),
            "key": self.key,
            "refused_at": _text(self.refused_at),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "PolicyMemory":
        measured = document["measured"]
        return cls(
            version=document["version"],
            measured=None
            if measured is None
            else Measured(**{**measured, "accuracy": Interval(**measured["accuracy"])}),
            moments_until=_moment(document["moments_until"]),
            key=document["key"],
            refused_at=_moment(document["refused_at"]),
        )


def _text(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
