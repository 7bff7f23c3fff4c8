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
from pathlib import Path

import sqlalchemy as sa

from infra import logs
from infra.database import open_database
from infra.heartbeat import beating
from infra.objects import ObjectStore, open_objects
from infra.settings import load
from monitoring.evidently_pages.figures import subgroups_of
from monitoring.evidently_pages.place import drop_snapshots
from monitoring.evidently_pages.report import draw_report
from monitoring.evidently_pages.workspace import keep_snapshot
from monitoring.window_report import WantedPage, facts_of, note_page, wanted_pages

_log = logging.getLogger(__name__)
_LOOK_EVERY_S = 1.0


def main() -> None:
    """Draw what is wanted until SIGTERM or Ctrl-C; with --once only what is wanted now."""
    parser = argparse.ArgumentParser(prog="python -m monitoring.evidently_page", description="Draw wanted pages.")
    parser.add_argument("--once", action="store_true", help="draw what is wanted now, then leave")
    once = parser.parse_args().once
    # Warnings of the library about the data would fill the log: what could not be computed is in the page's row.
    warnings.simplefilter("ignore")
    settings = load(Path(os.environ["KEDGE_ROOT"]) if "KEDGE_ROOT" in os.environ else None)
    home = settings.storage.home
    logs.configure("painter", home)
    engine, objects = open_database(settings.storage.database), open_objects(settings.storage)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    with beating(engine, "painter"):
        while not stop.is_set():
            wanted = wanted_pages(engine)
            for page in wanted[:1]:
                draw(engine, objects, home, page)
            if once and len(wanted) <= 1:
                return
            if not wanted:
                stop.wait(_LOOK_EVERY_S)


def draw(engine: sa.Engine, objects: ObjectStore, home: Path, page: WantedPage) -> str | None:
    """Draw one page and keep it; gives its key, or None when it failed, which its row then says."""
    started = time.monotonic()
    key = f"reports/window-{page.name}-{page.window}.html"
    try:
        # Angle brackets go before anything is read: the library writes every text into a script as it is.
        text = objects.get(page.columns_key).decode().replace("<", "‹").replace(">", "›")
        facts = facts_of(engine, page)
        drawn = draw_report(json.loads(text), facts)
        objects.put(key, drawn.html)
        objects.delete(page.columns_key)
    except Exception as error:  # noqa: BLE001 - one page that fails must not keep the others from being drawn
        _log.exception("The page of window %d could not be drawn", page.window)
        note_page(engine, page, "", {"error": f"{type(error).__name__}: {error}"[:1000]})
        return None
    noted = {"figures": drawn.figures, "workspace": _keep(home, page, drawn.snapshot, subgroups_of(facts.summary))}
    if not note_page(engine, page, key, {**noted, "seconds": round(time.monotonic() - started, 1)}):
        # A prediction of this window was forgotten while it was being drawn.
        objects.delete(key)
        drop_snapshots(home, page.name, [page.window])
        return None
    return key


def _keep(home: Path, page: WantedPage, snapshot: str, subgroups: tuple[tuple[str, str], ...]) -> str:
    """The snapshot's file; without room for it the page stands all the same, and its row says why it is alone."""
    try:
        return keep_snapshot(home, page.name, page.window, snapshot, subgroups).name
    except Exception as error:  # noqa: BLE001 - a workspace that is full or broken costs no page
        _log.exception("The snapshot of window %d could not be kept", page.window)
        return f"{type(error).__name__}: {error}"[:200]


if __name__ == "__main__":
    main()
