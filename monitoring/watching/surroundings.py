"""What stands beside a verdict and takes weeks of the log to read: arrivals, how complete labels are, ADWIN's cuts."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from monitoring.incoming.volume import ArrivalReport
from monitoring.quality.records import DrawnCut


@dataclass(frozen=True)
class WindowLabels:
    """How many labels a window has, how many it will have in the end (None where nobody knows), and that in words."""

    sequence: int
    labels: int
    expected: float | None
    words: str


@dataclass(frozen=True)
class LabelledFacts:
    """Of the champion; `adwin` is None where no label may measure."""

    windows: tuple[WindowLabels, ...] = ()
    adwin: tuple[DrawnCut, ...] | None = None

    def to_json(self) -> dict[str, Any]:
        cuts = None if self.adwin is None else [_cut_json(one) for one in self.adwin]
        return {"windows": [asdict(one) for one in self.windows], "adwin": cuts}

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "LabelledFacts":
        cuts = document["adwin"]
        return cls(
            tuple(WindowLabels(**one) for one in document["windows"]),
            None if cuts is None else tuple(_cut(one) for one in cuts),
        )


@dataclass(frozen=True)
class Surroundings:
    """
    As they were read last; nothing is decided by them.

    Attributes:
        version: Of the champion they are about; 0 before the first reading.
        again_at: Not before then are they worth another reading.
    """

    version: int = 0
    arrivals: ArrivalReport = field(default_factory=lambda: ArrivalReport(()))
    labelled: LabelledFacts = field(default_factory=LabelledFacts)
    again_at: datetime | None = None

    def is_due(self, version: int, at: datetime) -> bool:
        """Whether they are of another champion, or old enough."""
        return version != self.version or self.again_at is None or at >= self.again_at

    def to_json(self) -> dict[str, Any]:
        return {
            "version": self.version,
            "arrivals": self.arrivals.to_json(),
            "labelled": self.labelled.to_json(),
            "again_at": None if self.again_at is None else self.again_at.isoformat(),
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "Surroundings":
        again = document["again_at"]
        return cls(
            document["version"],
            ArrivalReport.from_json(document["arrivals"]),
            LabelledFacts.from_json(document["labelled"]),
            None if again is None else datetime.fromisoformat(again),
        )


def _cut_json(cut: DrawnCut) -> dict[str, Any]:
    return {**asdict(cut), "began_at": cut.began_at.isoformat(), "noticed_at": cut.noticed_at.isoformat()}


def _cut(document: Mapping[str, Any]) -> DrawnCut:
    moments = {name: datetime.fromisoformat(document[name]) for name in ("began_at", "noticed_at")}
    return DrawnCut(**{**document, **moments})
