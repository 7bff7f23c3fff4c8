"""A project whose log is a quarter of known truth: a champion, its profile, its answers, and labels that came late."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from flows.workplace import Workplace, open_workplace
from infra.clock import new_id
from models.prediction import Label, Prediction
from monitoring.backtesting.stream import Stream
from monitoring.reference.profile import save_profile
from tests.benchmarks.decisions_worlds import Change, Quarter, quarter

SUDDEN = Change("sudden drift", ("retrain", "label_first"), harms=True, moved=1.3)
SETTINGS = """
[data]
source = "camera"

[monitor]
feedback_is_random = true
every_s = 43200
"""


def logged_quarter(folder: Path, change: Change = SUDDEN, per_day: int = 40, labels_per_day: int = 10) -> Workplace:
    """Everything as the service, the shipper and people would have left it."""
    (folder / "kedge.toml").write_text(SETTINGS)
    place = open_workplace(folder)
    lived = quarter(change, 1, per_day, labels_per_day)
    _champion(place, lived, folder / "candidate")
    rows = [_prediction(lived.stream, row) for row in range(lived.stream.base, len(lived.stream))]
    place.log.append_predictions("s-0", 1, list(enumerate(rows)))
    place.log.append_labels("s-0", 1, list(enumerate(_labels(lived.stream, rows))))
    return place


def _champion(place: Workplace, lived: Quarter, folder: Path) -> None:
    folder.mkdir()
    for name in ("model.onnx", "model.safetensors", "artifact.json"):
        (folder / name).write_bytes(name.encode())
    place.registry.register(folder, reason="first", parent_version=None)
    place.registry.champions.promote(1, actor="test", reason="test")
    save_profile(place.engine, place.objects, place.settings.project.name, replace(lived.profile, version=1))


def _prediction(stream: Stream, row: int) -> Prediction:
    at, probabilities = _moment(stream.times[row]), stream.batch.probabilities[row]
    return Prediction(
        id=new_id(at),
        at=at,
        model_version=1,
        label=stream.classes[int(probabilities.argmax())],
        confidence=float(probabilities.max()),
        probabilities=tuple(probabilities.tolist()),
        embedding=stream.batch.embedding[row],
        statistics=tuple(stream.batch.statistics[row].tolist()),
        image_sha256=stream.files[row],
        image_width=32,
        image_height=32,
        image_format="png",
        image_bytes=1_000,
        image_kept=True,
        metadata=stream.batch.metadata[row],
    )


def _labels(stream: Stream, rows: list[Prediction]) -> list[Label]:
    drawn = [row for row in stream.arrivals.tolist() if stream.drawn[row]]
    return [
        Label(
            rows[row - stream.base].id,
            stream.classes[stream.truth[row]],
            _moment(stream.labelled_at[row]),
            "ann",
            number,
        )
        for number, row in enumerate(drawn)
    ]


def _moment(time: np.datetime64) -> datetime:
    found: datetime = time.astype("datetime64[us]").item()
    return found.replace(tzinfo=UTC)
