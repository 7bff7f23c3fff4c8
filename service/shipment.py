"""What one segment brings to the tables, and what of it stays behind because it is being forgotten."""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from models.prediction import Label, Prediction, ShadowAnswer
from service.records import decode_label, decode_prediction, decode_shadow
from service.segments import DAMAGED, IMAGE, LABEL, PREDICTION, SHADOW, frames_of

_DIGEST_BYTES = 32


@dataclass(frozen=True)
class Records:
    """
    A segment's records, each with its position among all frames.

    Attributes:
        dropped: Of each id that is being forgotten, how many were left out, by table.
        unwanted_images: SHA-256 of images that only records left out had named.
    """

    predictions: Sequence[tuple[int, Prediction]]
    labels: Sequence[tuple[int, Label]]
    shadows: Sequence[tuple[int, ShadowAnswer]]
    dropped: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    unwanted_images: frozenset[str] = frozenset()

    def without(self, ids: Collection[str]) -> "Records":
        """What is left when nothing is kept of these ids; the others keep their positions."""
        if not ids:
            return self
        parts: Mapping[str, Sequence[tuple[int, Prediction | Label | ShadowAnswer]]]
        parts = {"predictions": self.predictions, "labels": self.labels, "shadows": self.shadows}
        dropped: dict[str, dict[str, int]] = {}
        for name, records in parts.items():
            for _, record in records:
                if record.id in ids:
                    counts = dropped.setdefault(record.id, dict.fromkeys(parts, 0))
                    counts[name] += 1
        predictions = [one for one in self.predictions if one[1].id not in ids]
        labels = [one for one in self.labels if one[1].id not in ids]
        shadows = [one for one in self.shadows if one[1].id not in ids]
        named = {record.image_sha256 for _, record in self.predictions}
        unwanted = named - {record.image_sha256 for _, record in predictions}
        return Records(predictions, labels, shadows, dropped, frozenset(unwanted))


def records_in(path: Path) -> Records:
    """The records of a segment, up to its end or to the first damaged frame."""
    predictions, labels, shadows = [], [], []
    for position, frame in enumerate(frames_of(path)):
        if frame.kind == PREDICTION:
            predictions.append((position, decode_prediction(frame.payload)))
        elif frame.kind == LABEL:
            labels.append((position, decode_label(frame.payload)))
        elif frame.kind == SHADOW:
            shadows.append((position, decode_shadow(frame.payload)))
    return Records(predictions, labels, shadows)


def images_in(path: Path) -> Iterator[tuple[str, bytes]]:
    """SHA-256 and bytes of each image of a segment; read one by one, for they are large."""
    for frame in frames_of(path):
        if frame.kind == IMAGE:
            yield frame.payload[:_DIGEST_BYTES].hex(), frame.payload[_DIGEST_BYTES:]


def drop_damaged(folder: Path, ids: Collection[str]) -> list[Path]:
    """
    Delete the damaged files of a spool that hold a record of one of these ids; gives their paths.

    They cannot be read frame by frame, so they go as a whole: what could be read of them was shipped before.
    """
    wanted = [f'"id":{json.dumps(one)}'.encode() for one in ids]
    gone = [path for path in folder.glob(f"*/*{DAMAGED}") if _holds_any(path, wanted)]
    for path in gone:
        path.unlink(missing_ok=True)
    return gone


def _holds_any(path: Path, wanted: Sequence[bytes]) -> bool:
    data = path.read_bytes() if wanted else b""
    return any(one in data for one in wanted)
