"""The same columns and embeddings compared with their reference, by ours and by Evidently: one task a process."""

import json
import os
import sys
import time
import warnings
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from monitoring.image_stats import NAMES
from monitoring.reference.fit import fit
from monitoring.reference.reduced import project, reduction
from monitoring.signals import drift_report
from monitoring.watching.batch import Batch
from tests.benchmarks.monitoring_speed_log import Floats

_STATISTICS, _CLASSES = len(NAMES), 9
CLASSES = tuple(f"class {number}" for number in range(_CLASSES))


def measure(task: str, side: str, rows: int, size: int) -> dict[str, float]:
    """CPU-seconds of the comparison alone: data are made, and libraries imported, before the clock runs."""
    work = {"columns": _columns, "embedding": _embedding}[task](side, rows, size)
    begun = time.process_time()
    work()
    return {"cpu_s": time.process_time() - begun}


def _columns(side: str, rows: int, size: int) -> Callable[[], Any]:
    reference, current = (_batch(rows, size, seed) for seed in (1, 2))
    if side == "ours":
        profile = fit(reference, reference.labels, version=1, classes=CLASSES, rounds=1, judged_errors={})
        return lambda: drift_report(profile, current)
    tables = [_table(batch) for batch in (reference, current)]
    return _evidently(tables, {"numerical_columns": list(tables[0])}, "preset")


def _embedding(side: str, rows: int, size: int) -> Callable[[], Any]:
    reference, current = (_batch(rows, size, seed) for seed in (1, 2))
    if side == "ours":
        profile = fit(reference, reference.labels, version=1, classes=CLASSES, rounds=1, judged_errors={})
        # Reducing the reference is done once per model, but counts here all the same.
        return lambda: _ours(reduction(profile), current)
    names = [f"e{number}" for number in range(size)]
    tables = [dict(zip(names, batch.embedding.T, strict=True)) for batch in (reference, current)]
    return _evidently(tables, {"embeddings": {"image": names}}, "embeddings")


def _ours(reduced: Any, current: Batch) -> Any:
    return drift_report(reduced.profile, replace(current, embedding=project(reduced.projection, current.embedding)))


def _evidently(tables: list[dict[str, Floats]], definition: dict[str, Any], kind: str) -> Callable[[], Any]:
    os.environ["DO_NOT_TRACK"] = "1"
    warnings.simplefilter("ignore")
    import pandas as pd
    from evidently import DataDefinition, Dataset, Report
    from evidently.metrics import EmbeddingsDrift
    from evidently.presets import DataDriftPreset

    described = DataDefinition(**definition)
    reference, current = (Dataset.from_pandas(pd.DataFrame(table), data_definition=described) for table in tables)
    metric = DataDriftPreset() if kind == "preset" else EmbeddingsDrift(embeddings_name="image")
    return lambda: Report([metric]).run(current, reference).dict()


def _batch(rows: int, size: int, seed: int) -> Batch:
    chance = np.random.default_rng(seed)
    shares = np.exp(3 * chance.standard_normal((rows, _CLASSES)))
    probabilities = shares / shares.sum(axis=1, keepdims=True)
    return Batch(
        0.5 + 0.05 * chance.standard_normal((rows, _STATISTICS)),
        probabilities,
        chance.standard_normal((rows, size)),
        tuple(CLASSES[answer] for answer in probabilities.argmax(axis=1)),
        ({},) * rows,
    )


def _table(batch: Batch) -> dict[str, Floats]:
    """Twenty columns: nine statistics, nine probabilities, confidence and entropy."""
    columns = dict(zip(NAMES, batch.statistics.T, strict=True))
    columns |= dict(zip(CLASSES, batch.probabilities.T, strict=True))
    return columns | {"confidence": batch.confidence, "entropy": batch.entropy}


if __name__ == "__main__":
    what, whose, count, width = sys.argv[1:]
    print(json.dumps(measure(what, whose, int(count), int(width))))
