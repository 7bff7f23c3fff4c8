"""
Moves what the service wrote from the spool into the object store and the tables; `python -m service.shipper`.

One shipper serves one home. Each segment goes images first, then predictions, then labels, and is deleted last, so that
a row never names bytes that are not there; a shipper that dies on the way repeats the segment, and the tables
take it once.
"""

import argparse
import fcntl
import logging
import os
import signal
import sys
import threading
import time
from pathlib import Path

import sqlalchemy as sa

from infra import logs
from infra.database import open_database
from infra.errors import UserError
from infra.heartbeat import beat
from infra.objects import open_objects
from infra.settings import Settings
from monitoring.prediction_log import PredictionLog, image_key
from service.http import project_settings
from service.records import decode_label, decode_prediction, decode_shadow
from service.spool import (
    DAMAGED,
    IMAGE,
    LABEL,
    OPEN,
    PREDICTION,
    SEALED,
    SHADOW,
    SHIPPED,
    borrowed,
    frames_of,
    recover,
    segments,
    slots,
    whole_bytes,
)
from service.worker import leave_with_parent, spool_folder

logger = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.25
_HEARTBEAT_EVERY_S = 5.0
_MOST_WAIT_S = 30.0
_TIDY_EVERY_S = 600.0
_TIDY_AFTER_COMMITS = 50
_DIGEST_BYTES = 32


class Shipper:
    """Ships the spool of one project; holds the home's shipper lock from the start to `close`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.folder = spool_folder(settings)
        self._lock_handle = _lock(self.folder)
        self.log = PredictionLog(settings.storage)
        self.objects = open_objects(settings.storage)
        self._engine: sa.Engine | None = None
        self._tidied_at = time.monotonic()
        self._tidied_commits = self._beaten_at = 0.0

    def close(self) -> None:
        os.close(self._lock_handle)

    def ship_all(self) -> int:
        """
        Ship what is sealed, and what workers that died left behind; returns how many segments went.

        Each slot goes in order and by itself. Raises whatever the stores raise: everything not shipped is still there.
        """
        shipped = 0
        for slot in slots(self.folder):
            shipped += self._ship_sealed(slot)
            if not segments(slot, OPEN):
                continue
            with borrowed(slot) as abandoned:
                if abandoned:
                    recover(slot)
            shipped += self._ship_sealed(slot)
        return shipped

    def run(self, stop: threading.Event) -> None:
        """Ship until told to stop, then once more; waits ever longer while a store is away."""
        wait = _LOOK_EVERY_S
        while not stop.wait(wait):
            wait = _LOOK_EVERY_S if self._try() else min(max(2 * wait, 1.0), _MOST_WAIT_S)
            self._beat()
        if not self._try():
            logger.warning("stopping with segments unshipped; the next start ships them")

    def tidy(self) -> None:
        """Merge small files where many came since the last time, and drop those that nothing reads any more."""
        commits = self.log.predictions.commits() + self.log.labels.commits()
        if commits - self._tidied_commits >= _TIDY_AFTER_COMMITS:
            merged = self.log.compact()
            gone = self.log.predictions.vacuum() + self.log.labels.vacuum()
            logger.info("the tables were tidied: %d files merged, %d deleted", merged, gone)
            self._tidied_commits = self.log.predictions.commits() + self.log.labels.commits()

    def _try(self) -> bool:
        try:
            self.ship_all()
            if time.monotonic() - self._tidied_at >= _TIDY_EVERY_S:
                self._tidied_at = time.monotonic()
                self.tidy()
        except Exception:
            # Stores fail in many words (network, credentials, quota); nothing is lost by trying again later.
            logger.exception("shipping failed; it is tried again")
            return False
        return True

    def _ship_sealed(self, slot: Path) -> int:
        paths = segments(slot, SEALED)
        for path in paths:
            self._ship(slot.name, path)
        for old in segments(slot, SHIPPED)[:-1]:
            old.unlink(missing_ok=True)
        return len(paths)

    def _ship(self, app_id: str, path: Path) -> None:
        predictions, labels, shadows, images = [], [], [], 0
        for position, frame in enumerate(frames_of(path)):
            if frame.kind == IMAGE:
                sha256, data = frame.payload[:_DIGEST_BYTES].hex(), frame.payload[_DIGEST_BYTES:]
                self.objects.put(image_key(sha256), data)
                images += 1
            elif frame.kind == PREDICTION:
                predictions.append((position, decode_prediction(frame.payload)))
            elif frame.kind == LABEL:
                labels.append((position, decode_label(frame.payload)))
            elif frame.kind == SHADOW:
                shadows.append((position, decode_shadow(frame.payload)))
        number = int(path.stem)
        if predictions:
            self.log.append_predictions(app_id, number, predictions)
        if labels:
            self.log.append_labels(app_id, number, labels)
        if shadows:
            self.log.append_shadows(app_id, number, shadows)
        logger.info(
            "%s/%d: %d predictions, %d labels, %d images shipped", app_id, number, len(predictions), len(labels), images
        )
        _forget(path)

    def _beat(self) -> None:
        if time.monotonic() - self._beaten_at < _HEARTBEAT_EVERY_S:
            return
        self._beaten_at = time.monotonic()
        try:
            self._engine = self._engine or open_database(self.settings.storage.database)
            beat(self._engine, "shipper")
        except Exception as error:  # noqa: BLE001 - shipping does not depend on the database
            logger.warning("the heartbeat could not be written: %s", error)


def main(arguments: list[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; exit code 1 when another shipper has this home."""
    parser = argparse.ArgumentParser(prog="python -m service.shipper", description=__doc__)
    parser.add_argument("--once", action="store_true", help="ship what is there and leave")
    parser.add_argument("--with-parent", action="store_true", help="leave when the starting process is gone")
    options = parser.parse_args(arguments)
    try:
        settings = project_settings()
        logs.configure("shipper", settings.storage.home)
        shipper = Shipper(settings)
    except UserError as error:
        print(error, file=sys.stderr)  # noqa: T201 - this is a command's answer
        return error.exit_code
    if options.with_parent:
        leave_with_parent()
    if options.once:
        shipper.ship_all()
    else:
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        shipper.run(stop)
    shipper.close()
    return 0


def _forget(path: Path) -> None:
    """Delete a shipped segment but keep its number; one with unreadable frames is set aside instead."""
    size = path.stat().st_size
    if whole_bytes(path) < size:
        logger.error("%s is damaged; what could be read was shipped, the file is kept as %s", path, DAMAGED)
        path.with_suffix(DAMAGED).write_bytes(path.read_bytes())
    marker = path.rename(path.with_suffix(SHIPPED))
    os.truncate(marker, 0)


def _lock(folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / "shipper.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise UserError(
            f"Another shipper is moving the predictions of {folder.parent}. One is enough; stop it first, "
            "or let it work."
        ) from error
    return handle


if __name__ == "__main__":
    sys.exit(main())
