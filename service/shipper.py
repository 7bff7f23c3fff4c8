"""
Moves what the service wrote from the spool into the object store and the tables; `python -m service.shipper`.

One shipper serves one home. Each segment goes images first, then predictions, then labels, and is deleted last, so that
a row never names bytes that are not there; a shipper that dies on the way repeats the segment, and the tables
take it once. What is being forgotten meanwhile goes nowhere.
"""

import argparse
import fcntl
import logging
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import sqlalchemy as sa

from infra import logs
from infra.database import open_database
from infra.errors import UserError
from infra.files import write_atomically
from infra.forgettings import ids_to_forget, note_dropped
from infra.heartbeat import beat
from infra.objects import open_objects
from infra.settings import Settings
from monitoring.prediction_log import PredictionLog, image_key
from service.http import project_settings
from service.segments import DAMAGED, OPEN, SEALED, SHIPPED, recover, segments, whole_bytes
from service.shipment import drop_damaged, images_in, records_in
from service.slots import borrowed, slots
from service.worker import leave_with_parent, spool_folder

logger = logging.getLogger(__name__)

_LOOK_EVERY_S = 0.25
_HEARTBEAT_EVERY_S = 5.0
_MOST_WAIT_S = 30.0
_TIDY_EVERY_S = 600.0
_TIDY_AFTER_COMMITS = 50
_LOOK_AT_DRAIN_S = 0.5
_PUTS_AT_ONCE, _IMAGES_IN_MEMORY = 8, 32


class ShipperBusy(UserError):
    """Another shipper has this home."""


class Shipper:
    """Ships the spool of one project; holds the home's shipper lock from the start to `close`."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.folder = spool_folder(settings)
        self.log = PredictionLog(settings.storage)
        self.objects = open_objects(settings.storage)
        self._lock_handle = _lock(self.folder)
        self._engine: sa.Engine | None = None
        self._tidied_at = time.monotonic()
        self._tidied_commits = self._beaten_at = 0.0
        self._failing_since: float | None = None
        self._forgotten: frozenset[str] = frozenset()
        self._ask_again_at = 0.0

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
        """
        Merge small files where many came since the last time, and drop those that nothing reads any more.

        `kedge tidy` does this and more once a day, but `kedge serve` alone has nobody who starts that.
        """
        commits = sum(table.commits() for table in self.log.tables)
        if commits - self._tidied_commits >= _TIDY_AFTER_COMMITS:
            merged = self.log.compact()
            gone = sum(table.vacuum() for table in self.log.tables)
            logger.info("the tables were tidied: %d files merged, %d deleted", merged, gone)
            self._tidied_commits = sum(table.commits() for table in self.log.tables)

    def _try(self) -> bool:
        try:
            shipped = self.ship_all()
            if time.monotonic() - self._tidied_at >= _TIDY_EVERY_S:
                self._tidied_at = time.monotonic()
                self.tidy()
        except Exception as error:
            # Stores fail in many words (network, credentials, quota); nothing is lost by trying again later.
            if self._failing_since is None:
                self._failing_since = time.monotonic()
                logger.exception("shipping failed; it is tried again, at most %g s apart, until it works", _MOST_WAIT_S)
            else:
                # Said once in full; a store that is away for a night must not fill the log.
                away = time.monotonic() - self._failing_since
                logger.debug("shipping still fails after %.0f s: %s", away, error)
            return False
        if self._failing_since is not None:
            away, self._failing_since = time.monotonic() - self._failing_since, None
            logger.warning("shipping works again after %.0f s; %d segments that had waited were shipped", away, shipped)
        return True

    def _ship_sealed(self, slot: Path) -> int:
        paths = segments(slot, SEALED)
        for path in paths:
            self._ship(slot.name, path)
        for old in segments(slot, SHIPPED)[:-1]:
            old.unlink(missing_ok=True)
        return len(paths)

    def _ship(self, app_id: str, path: Path) -> None:
        # Asked of every segment, after it was sealed: what was written before a request is shipped after it or dropped.
        records = records_in(path).without(self._ids_to_forget())
        images = self._put_images(one for one in images_in(path) if one[0] not in records.unwanted_images)
        number = int(path.stem)
        if records.predictions:
            self.log.append_predictions(app_id, number, records.predictions)
        if records.labels:
            self.log.append_labels(app_id, number, records.labels)
        if records.shadows:
            self.log.append_shadows(app_id, number, records.shadows)
        words = f"{len(records.predictions)} predictions, {len(records.labels)} labels, {images} images shipped"
        if records.dropped:
            # Before the segment goes: a request that found nothing in the tables would else call the id unknown.
            note_dropped(self._database(), records.dropped)
            words += "; what is being forgotten was dropped"
        logger.info("%s/%d: %s", app_id, number, words)
        _forget(path)

    def _put_images(self, images: Iterator[tuple[str, bytes]]) -> int:
        """Put the images, several at once: a store answers each in its own time, and a segment may hold hundreds."""
        count = 0
        with ThreadPoolExecutor(_PUTS_AT_ONCE, thread_name_prefix="put") as pool:
            while batch := list(islice(images, _IMAGES_IN_MEMORY)):
                # The first that fails is raised here, and then nothing of the segment counts as shipped.
                for _ in pool.map(lambda one: self.objects.put(image_key(one[0]), one[1]), batch):
                    count += 1
        return count

    def _ids_to_forget(self) -> frozenset[str]:
        """Without the database: as it was last known. Nobody can ask for more then, and the job looks again itself."""
        if time.monotonic() < self._ask_again_at:
            return self._forgotten
        try:
            self._forgotten = ids_to_forget(self._database())
        except Exception as error:  # noqa: BLE001 - shipping does not depend on the database
            # A server that does not answer takes its time to say so: not at every segment.
            self._ask_again_at = time.monotonic() + _MOST_WAIT_S
            logger.warning("what is to be forgotten could not be asked: %s", error)
        return self._forgotten

    def _database(self) -> sa.Engine:
        self._engine = self._engine or open_database(self.settings.storage.database)
        return self._engine

    def _beat(self) -> None:
        if time.monotonic() - self._beaten_at < _HEARTBEAT_EVERY_S:
            return
        self._beaten_at = time.monotonic()
        try:
            beat(self._database(), "shipper")
        except Exception as error:  # noqa: BLE001 - shipping does not depend on the database
            logger.warning("the heartbeat could not be written: %s", error)


def main(arguments: list[str] | None = None) -> int:
    """Run until SIGTERM or SIGINT; exit code 1 when another shipper has this home."""
    parser = argparse.ArgumentParser(prog="python -m service.shipper", description=__doc__)
    parser.add_argument("--once", action="store_true", help="ship what is there and leave")
    parser.add_argument("--drain", action="store_true", help="leave when all that was written before now is shipped")
    parser.add_argument("--with-parent", action="store_true", help="leave when the starting process is gone")
    options = parser.parse_args(arguments)
    if options.with_parent:
        leave_with_parent()
    try:
        settings = project_settings()
        logs.configure("shipper", settings.storage.home)
        if options.drain:
            drain(settings)
            return 0
        shipper = Shipper(settings)
    except UserError as error:
        print(error, file=sys.stderr)  # noqa: T201 - this is a command's answer
        return error.exit_code
    if options.once:
        shipper.ship_all()
    else:
        stop = threading.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda *_: stop.set())
        shipper.run(stop)
    shipper.close()
    return 0


def drain(settings: Settings) -> None:
    """
    Wait until everything that is in the spool now is shipped, by the home's shipper or, where none runs, by this one.

    A line on standard output says whenever the number of segments to go has changed. What is being forgotten is also
    taken out of the damaged files that were set aside.

    Raises:
        UserError: the store or the tables cannot be written; everything not shipped is still there.
    """
    folder, told = spool_folder(settings), -1
    waited_for = _unshipped(folder)
    while left := len(waited_for & _unshipped(folder)):
        if left != told:
            print(f"{left} segments to go", flush=True)  # noqa: T201 - read by whoever waits
            told = left
        _ship_once(settings)
        if waited_for & _unshipped(folder):
            time.sleep(_LOOK_AT_DRAIN_S)
    for path in drop_damaged(folder, ids_to_forget(open_database(settings.storage.database))):
        logger.warning("%s held something that is being forgotten, and was deleted", path)


def _ship_once(settings: Settings) -> None:
    try:
        shipper = Shipper(settings)
    except ShipperBusy:
        return
    try:
        shipper.ship_all()
    except Exception as error:
        raise UserError(
            f"The spool could not be shipped: {type(error).__name__}: {error}. Everything is still there; "
            "`kedge doctor` says what is wrong with the object store."
        ) from error
    finally:
        shipper.close()


def _unshipped(folder: Path) -> set[Path]:
    """The segments that wait, without their state: an open one is the same when it is sealed."""
    return {
        path.with_suffix("") for slot in slots(folder) for state in (OPEN, SEALED) for path in segments(slot, state)
    }


def _forget(path: Path) -> None:
    """Delete a shipped segment but keep its number; one with unreadable frames is set aside instead."""
    size = path.stat().st_size
    if whole_bytes(path) < size:
        logger.error("%s is damaged; what could be read was shipped, the file is kept as %s", path, DAMAGED)
        write_atomically(path.with_suffix(DAMAGED), path.read_bytes())
    marker = path.rename(path.with_suffix(SHIPPED))
    os.truncate(marker, 0)


def _lock(folder: Path) -> int:
    folder.mkdir(parents=True, exist_ok=True)
    handle = os.open(folder / "shipper.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        os.close(handle)
        raise ShipperBusy(
            f"Another shipper is moving the predictions of {folder.parent}. One is enough; stop it first, "
            "or let it work."
        ) from error
    return handle


if __name__ == "__main__":
    sys.exit(main())
