"""
`python -m monitoring.evidently_page`: draws the pages that the watcher asks for, with Evidently.

A process of its own: the library takes seconds to import and hundreds of megabytes, and a page that fails must
not take the watcher with it. What it finds is drawn and kept; nothing is decided by it.
"""

import argparse
import json
import logging
import os
import signal
import threading
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

# Before the import below: the library would otherwise send usage events, and warn about its own imports.
os.environ["DO_NOT_TRACK"] = "1"
warnings.simplefilter("ignore")

import pandas as pd  # noqa: E402
import sqlalchemy as sa  # noqa: E402
from evidently import DataDefinition, Dataset, MulticlassClassification, Report  # noqa: E402
from evidently.metrics import Accuracy, F1Score, Precision, PrecisionByLabel, Recall, RecallByLabel, ValueDrift  # noqa: E402

from infra import logs  # noqa: E402
from infra.database import open_database  # noqa: E402
from infra.heartbeat import beating  # noqa: E402
from infra.objects import ObjectStore, open_objects  # noqa: E402
from infra.settings import load  # noqa: E402
from monitoring.window_report import WantedPage, note_page, wanted_pages  # noqa: E402

_log = logging.getLogger(__name__)
_LOOK_EVERY_S = 1.0

# Explicit methods: the library's defaults change with the number of rows, and so do their false alarms.
NUMERIC_METHOD, CATEGORY_METHOD = "ks", "jensenshannon"
_NUMERIC_LIMIT, _CATEGORY_LIMIT = 0.001, 0.1

# Fewer labelled rows than this would draw chance.
LEAST_LABELLED = 20

_PREDICTED, _LABEL = "predicted class", "label"


def main() -> None:
    """Draw what is wanted until SIGTERM or Ctrl-C; with --once only what is wanted now."""
    parser = argparse.ArgumentParser(prog="python -m monitoring.evidently_page", description="Draw wanted pages.")
    parser.add_argument("--once", action="store_true", help="draw what is wanted now, then leave")
    once = parser.parse_args().once
    settings = load(Path(os.environ["KEDGE_ROOT"]) if "KEDGE_ROOT" in os.environ else None)
    logs.configure("painter", settings.storage.home)
    engine, objects = open_database(settings.storage.database), open_objects(settings.storage)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with beating(engine, "painter"):
        while not stop.is_set():
            wanted = wanted_pages(engine)
            for page in wanted[:1]:
                draw(engine, objects, page)
            if once and len(wanted) <= 1:
                return
            if not wanted:
                stop.wait(_LOOK_EVERY_S)


def draw(engine: sa.Engine, objects: ObjectStore, page: WantedPage) -> str | None:
    """Draw one page and keep it; gives its key, or None when it failed, which its row then says."""
    started = time.monotonic()
    key = f"reports/window-{page.name}-{page.window}.html"
    try:
        html, figures = page_of(json.loads(objects.get(page.columns_key)))
        objects.put(key, html)
        objects.delete(page.columns_key)
    except Exception as error:  # noqa: BLE001 - one page that fails must not keep the others from being drawn
        _log.exception("The page of window %d could not be drawn", page.window)
        note_page(engine, page, "", {"error": f"{type(error).__name__}: {error}"})
        return None
    note_page(engine, page, key, {"figures": figures, "seconds": round(time.monotonic() - started, 1)})
    return key


def page_of(request: Mapping[str, Any]) -> tuple[bytes, Mapping[str, Any]]:
    """
    The page as HTML, and its figures.

    request: `title`, `reference` and `window` (columns as lists), `numeric` and `category` (names of the columns
        to be compared), `classes`.

    Raises:
        ValueError: nothing differs from a constant, so there is nothing to draw.
    """
    numeric, category = list(request["numeric"]), list(request["category"])
    if not numeric and not category:
        raise ValueError("no column of the window differs from a constant, so there is nothing to draw")
    window, reference = (_frame(request, side) for side in ("window", "reference"))
    labelled = min(int(frame[_LABEL].notna().sum()) for frame in (window, reference))
    metrics: list[Any] = [ValueDrift(column=name, method=NUMERIC_METHOD, threshold=_NUMERIC_LIMIT) for name in numeric]
    metrics += [ValueDrift(column=name, method=CATEGORY_METHOD, threshold=_CATEGORY_LIMIT) for name in category]
    definition = DataDefinition(numerical_columns=numeric, categorical_columns=category)
    if labelled >= LEAST_LABELLED:
        metrics += [Accuracy(), Precision(), Recall(), F1Score(), PrecisionByLabel(), RecallByLabel()]
        task = MulticlassClassification(target=_LABEL, prediction_labels=_PREDICTED)
        definition = DataDefinition(
            numerical_columns=numeric,
            categorical_columns=sorted({*category, _LABEL, _PREDICTED}),
            classification=[task],
        )
    current, past = (Dataset.from_pandas(frame, data_definition=definition) for frame in (window, reference))
    run = Report(metrics).run(current, past, name=request["title"])
    with TemporaryDirectory() as folder:
        run.save_html(str(Path(folder) / "page.html"))
        html = (Path(folder) / "page.html").read_bytes()
    return html, {"rows": [len(window), len(reference)], "labelled": labelled, **_figures(run)}


def _frame(request: Mapping[str, Any], side: str) -> pd.DataFrame:
    columns = request[side]
    names = [*request["numeric"], *request["category"], _LABEL]
    names += [] if _PREDICTED in names else [_PREDICTED]
    frame = pd.DataFrame({name: columns[name] for name in names})
    return frame.astype(dict.fromkeys(request["numeric"], "float64"))


def _figures(run: Any) -> dict[str, Any]:
    drift: dict[str, Any] = {}
    quality: dict[str, Any] = {}
    for metric in run.dict()["metrics"]:
        config, value = metric["config"], metric["value"]
        if "column" in config and "method" in config:
            drift[config["column"]] = {"method": config["method"], "value": float(value)}
        elif isinstance(value, Mapping):
            quality[_short(metric["metric_name"])] = {str(name): float(one) for name, one in value.items()}
        else:
            quality[_short(metric["metric_name"])] = float(value)
    return {"drift": drift, "quality": quality}


def _short(name: str) -> str:
    """A metric's name without its arguments."""
    return name.partition("(")[0]


if __name__ == "__main__":
    main()
