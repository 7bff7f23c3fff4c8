"""A prediction log of any size, written as the shipper writes it, and one look of the watcher at it."""

import json
import resource
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import polars as pl
from numpy.typing import NDArray

from infra.clock import new_id
from infra.database import open_database
from infra.objects import open_objects
from infra.settings import load
from models.registry import Registry
from monitoring.image_stats import NAMES
from monitoring.prediction_log import PredictionLog
from monitoring.reference.fit import fit
from monitoring.reference.profile import ReferenceProfile, save_profile
from monitoring.watch import WatchPlace, tick
from monitoring.watching.batch import Batch

Floats = NDArray[np.float64]

CLASSES = tuple(f"class {number}" for number in range(10))
CAMERAS = tuple(f"camera {number}" for number in range(8))
BEGIN = datetime(2026, 11, 1, tzinfo=UTC)
_SEGMENT_ROWS, _SPOOLS = 2_000, 4
_REFERENCE_ROWS = 2_000


def write(folder: Path, rows: int, size: int) -> None:
    """A champion with its profile, and so many of its predictions with embeddings of `size` numbers."""
    place = open_place(folder, rows)
    chance = np.random.default_rng(7)
    candidate = folder / "candidate"
    candidate.mkdir(parents=True)
    for file in ("model.onnx", "model.safetensors", "artifact.json"):
        (candidate / file).write_bytes(file.encode())
    place.registry.register(candidate, reason="first", parent_version=None)
    place.registry.champions.promote(1, actor="benchmark", reason="benchmark")
    save_profile(place.engine, place.objects, place.name, profile_of(_REFERENCE_ROWS, size, chance))
    for segment, frame in enumerate(_segments(rows, size, chance), start=1):
        spool = f"worker-{segment % _SPOOLS}"
        places = {"spool": spool, "segment": segment, "position": np.arange(frame.height, dtype=np.int32)}
        table = place.log.predictions
        whole = frame.with_columns(
            date=pl.col("at").dt.strftime("%Y-%m-%d"),
            spool=pl.lit(places["spool"]),
            segment=pl.lit(segment, pl.Int64),
            position=pl.Series(places["position"]),
        )
        table.append_once(spool, segment, whole.select(table.schema.names()))


def open_place(folder: Path, window: int) -> WatchPlace:
    """Where the watcher works, with windows of so many predictions."""
    settings = load(
        folder,
        {
            "KEDGE_MONITOR__WINDOW": str(window),
            "KEDGE_DATA__SOURCE": "camera",
            "KEDGE_DATA__SUBGROUPS": '["camera"]',
        },
    )
    engine = open_database(settings.storage.database)
    objects = open_objects(settings.storage)
    registry = Registry(engine, objects, settings.project.name)
    return WatchPlace(settings, engine, objects, registry, PredictionLog(settings.storage))


def profile_of(rows: int, size: int, chance: np.random.Generator) -> ReferenceProfile:
    """Of images like those of the log."""
    statistics, probabilities, embedding, answers = numbers(rows, size, chance)
    batch = Batch(
        statistics.astype(np.float64),
        probabilities.astype(np.float64),
        embedding.astype(np.float64),
        tuple(CLASSES[answer] for answer in answers),
        tuple({"camera": CAMERAS[place]} for place in chance.integers(len(CAMERAS), size=rows)),
    )
    judged = {"overall": (rows // 20, rows)}
    return fit(batch, batch.labels, version=1, classes=CLASSES, rounds=1, judged_errors=judged)


def numbers(
    rows: int, size: int, chance: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.float32], NDArray[np.float32], NDArray[np.int64]]:
    """Image statistics, probabilities, embeddings, and the class that each answers."""
    statistics = 0.5 + 0.05 * chance.standard_normal((rows, len(NAMES)), dtype=np.float32)
    logits = 3 * chance.standard_normal((rows, len(CLASSES)), dtype=np.float32)
    shares = np.exp(logits - logits.max(axis=1, keepdims=True))
    probabilities = shares / shares.sum(axis=1, keepdims=True)
    embedding = chance.standard_normal((rows, size), dtype=np.float32)
    return statistics, probabilities, embedding, probabilities.argmax(axis=1)


def look(folder: Path, window: int) -> dict[str, float]:
    """One look that closes the window: CPU-seconds of all threads, and the most memory in MB."""
    place = open_place(folder, window)
    base = _resident_mb()
    most = _Watermark()
    begun, began_wall = time.process_time(), time.monotonic()
    outcome = tick(place)
    used, wall = time.process_time() - begun, time.monotonic() - began_wall
    (closed,) = outcome.windows
    if closed.predictions != window:
        raise AssertionError(f"the window has {closed.predictions} predictions; expected {window}")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"cpu_s": used, "wall_s": wall, "base_mb": base, "peak_mb": peak, "seen_mb": most.stop()}


class _Watermark:
    """The most memory of its own (not of mapped files) that the process has had, looked at every 20 ms."""

    def __init__(self) -> None:
        self._most, self._done = 0.0, threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> float:
        self._done.set()
        self._thread.join()
        return self._most

    def _watch(self) -> None:
        while not self._done.wait(0.02):
            self._most = max(self._most, _resident_mb())


def _resident_mb() -> float:
    status = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":" in line)
    return int(status["RssAnon"].split()[0]) / 1024


def _segments(rows: int, size: int, chance: np.random.Generator) -> Iterator[pl.DataFrame]:
    """The columns of one segment after another, without their places."""
    for start in range(0, rows, _SEGMENT_ROWS):
        count = min(_SEGMENT_ROWS, rows - start)
        statistics, probabilities, embedding, answers = numbers(count, size, chance)
        times = [BEGIN + timedelta(milliseconds=200 * (start + place)) for place in range(count)]
        cameras = chance.integers(len(CAMERAS), size=count)
        yield pl.DataFrame(
            {
                "id": [new_id(at) for at in times],
                "at": pl.Series(times, dtype=pl.Datetime("us", "UTC")),
                "label": [CLASSES[answer] for answer in answers],
                "confidence": probabilities.max(axis=1),
                "probabilities": _lists(probabilities),
                "embedding": _lists(embedding),
                "statistics": _lists(statistics),
                "image_sha256": [chance.bytes(32).hex() for _ in range(count)],
                "metadata": [json.dumps({"camera": CAMERAS[place]}) for place in cameras],
            }
        ).with_columns(
            model_version=pl.lit(1, pl.Int32),
            image_width=pl.lit(224, pl.Int32),
            image_height=pl.lit(224, pl.Int32),
            image_format=pl.lit("jpeg"),
            image_bytes=pl.lit(20_000, pl.Int64),
            image_kept=pl.lit(value=True),
            repeated=pl.lit(value=False),
            forward_ms=pl.lit(5.0, pl.Float32),
        )


def _lists(table: NDArray[np.float32]) -> pl.Series:
    return pl.Series(table.ravel()).reshape(table.shape).arr.to_list()


if __name__ == "__main__":
    work, where, window_rows, *rest = sys.argv[1:]
    if work == "write":
        write(Path(where), int(window_rows), int(rest[0]))
    else:
        print(json.dumps(look(Path(where), int(window_rows))))
