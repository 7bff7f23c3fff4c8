"""The labelled images of one training, by role, and how a run directory keeps them."""

import hashlib
import json
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import datetime
from pathlib import Path
from typing import Any

from infra.files import write_atomically
from models.examples import Example

PRODUCTION = "production"
_FILE = "snapshot.json"


@dataclass(frozen=True)
class Snapshot:
    """
    The labelled images of one training, by role.

    Attributes:
        classes: Sorted; the order of the network's outputs.
        train: What trains: fresh images and, in a retrain, replayed old ones.
        select: For early stopping and temperature.
        judge_old: Judge images that were there before the champion was trained.
        judge_recent: Judge images labelled since then; empty without a champion.
        left_out: How many labelled images could not be used, by reason.
        fingerprint: SHA-256 over the `line` of every image, whatever their order and wherever their files lie.
        remarks: What was used but should be looked at, each a sentence.
        labels_until: When the newest label that this snapshot has seen was given; later ones are fresh to what is
            trained on it. The same images taken twice are the same snapshot, whatever the hour.
        files: SHA-256 of the bytes of each manifest image, by its path; a production image's key says its own.
        fresh_select: How many of `select`, at its end, were labelled since the champion's training.
    """

    classes: tuple[str, ...]
    train: tuple[Example, ...]
    select: tuple[Example, ...]
    judge_old: tuple[Example, ...]
    judge_recent: tuple[Example, ...]
    left_out: Mapping[str, int]
    fingerprint: str
    remarks: tuple[str, ...] = ()
    labels_until: datetime | None = field(default=None, compare=False)
    fresh_select: int = 0
    files: Mapping[str, str] = field(default_factory=dict)

    @property
    def fresh(self) -> int:
        """How many training images came from production."""
        return sum(example.source == PRODUCTION for example in self.train)

    @property
    def select_recent(self) -> tuple[Example, ...]:
        """The *select* images labelled since the champion's training: what forecasts and regime memory look at."""
        return self.select[len(self.select) - self.fresh_select :]

    def content_of(self, example: Example) -> str:
        """The SHA-256 of the bytes of one of its images."""
        return self.files[str(example.image)] if isinstance(example.image, Path) else example.image.rpartition("/")[2]

    def line(self, example: Example) -> str:
        """What of one of its images makes the fingerprint: content, label, role and source."""
        return line_of(self.content_of(example), example.label, example.split, example.source)


def fingerprinted(snapshot: Snapshot) -> Snapshot:
    """The snapshot with its fingerprint."""
    return replace(snapshot, fingerprint=_fingerprint(snapshot))


def keep_snapshot(snapshot: Snapshot, run_dir: Path) -> None:
    """Write `run_dir/snapshot.json`, last: a job that goes on after a crash trains and judges on the same images."""
    write_atomically(run_dir / _FILE, json.dumps(asdict(snapshot), default=_plain))


def kept_snapshot(run_dir: Path) -> Snapshot | None:
    """The snapshot of a run directory that was filled before; None where it was not, or not to its end."""
    path = run_dir / _FILE
    if not path.exists():
        return None
    document = json.loads(path.read_text())
    for part in ("train", "select", "judge_old", "judge_recent"):
        document[part] = tuple(_example(value) for value in document[part])
    until = document.get("labels_until")
    return Snapshot(
        **{
            **document,
            "classes": tuple(document["classes"]),
            "remarks": tuple(document.get("remarks", ())),
            "labels_until": None if until is None else datetime.fromisoformat(until),
        }
    )


def _plain(value: Any) -> Any:
    return value.isoformat() if isinstance(value, datetime) else {"file": str(value)}


def _example(value: dict[str, Any]) -> Example:
    image = value["image"]
    return Example(**{**value, "image": Path(image["file"]) if isinstance(image, dict) else image})


def line_of(content: str, label: str, role: str, source: str) -> str:
    """One image as it enters a fingerprint; content is the SHA-256 of its bytes."""
    return f"{content}\t{label}\t{role}\t{source}"


def digest_of(line: str) -> str:
    """A line that does not tell the image: of judge images no more than this leaves the gate's surroundings."""
    return hashlib.sha256(line.encode()).hexdigest()


def fingerprint_of(digests: Iterable[str]) -> str:
    """The fingerprint of a snapshot, from the digests of its lines."""
    return hashlib.sha256("\n".join(sorted(digests)).encode()).hexdigest()


def _fingerprint(snapshot: Snapshot) -> str:
    parts = (snapshot.train, snapshot.select, snapshot.judge_old, snapshot.judge_recent)
    return fingerprint_of(digest_of(snapshot.line(example)) for part in parts for example in part)
