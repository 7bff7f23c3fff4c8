"""The model that answers: follows the champion pointer, and never lets go of a good one for a bad one."""

import json
import logging
import shutil
import socket
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from os import getpid
from typing import Any

import sqlalchemy as sa

from infra import schema
from infra.clock import now
from infra.database import open_database, reading, writing
from infra.files import write_atomically
from infra.objects import open_objects
from infra.settings import Settings
from models.registry import CHAMPION, Registry
from models.runtime import Runtime

logger = logging.getLogger(__name__)

_SEEN_EVERY_S = 2.0
_FIRST_RETRY_S, _LAST_RETRY_S = 1.0, 30.0
_KEPT_VERSIONS = 3


@dataclass(frozen=True)
class LoadedModel:
    """
    One version in memory, warm.

    Attributes:
        since: when it became champion; aware, UTC.
    """

    name: str
    version: int
    since: datetime
    runtime: Runtime

    @property
    def title(self) -> str:
        """The model as answers name it."""
        return f"{self.name}:{self.version}"


@dataclass(frozen=True)
class _Pointer:
    version: int
    sequence: int
    since: datetime


class LiveModel:
    """
    Looks for a new champion every `serve.poll_ms`, on a thread of its own.

    A version is fetched, its hashes checked, loaded and warmed up while the old one answers; then one reference
    changes. Whatever fails on the way leaves the old one in place and the reason in `error`. The last good pointer
    is mirrored in a file beside the fetched versions, so that a worker can start while the database is away.
    """

    def __init__(
        self, settings: Settings, slot: str, *, on_change: Callable[["LiveModel"], None] | None = None
    ) -> None:
        self.current: LoadedModel | None = None
        self.error: str | None = None
        self._name, self._slot = settings.project.name, slot
        self._storage, self._poll_s = settings.storage, settings.serve.poll_ms / 1000
        self._folder = settings.storage.home / "serving" / settings.project.name
        self._on_change = on_change
        self._engine: sa.Engine | None = None
        self._started_at, self._seen_at = now(), -_SEEN_EVERY_S
        self._refused: _Pointer | None = None
        self._retry_at, self._retry_s = 0.0, _FIRST_RETRY_S
        self._away = False
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="live-model", daemon=True)

    def start(self) -> None:
        """Begin to follow the pointer; the model is there some moments later."""
        self._thread.start()

    def close(self) -> None:
        """Stop following, and sign off from the list of workers."""
        self._stop.set()
        self._thread.join(timeout=10)
        if self._engine is not None:
            try:
                with writing(self._engine) as connection:
                    connection.execute(sa.delete(schema.serving_workers).where(self._mine()))
            except sa.exc.SQLAlchemyError:
                logger.warning("could not sign off: the row of %s will grow old", self._slot)
            self._engine.dispose()

    def look(self) -> None:
        """One look at the pointer, and what follows from it."""
        pointer, reachable = self._pointer()
        changed = False
        if pointer is not None and self._wants(pointer):
            changed = self._load(pointer, reachable=reachable)
        if reachable and (changed or time.monotonic() - self._seen_at >= _SEEN_EVERY_S):
            self._sign_in()

    def _watch(self) -> None:
        while not self._stop.is_set():
            try:
                self.look()
            except Exception:
                logger.exception("looking for a new champion failed; the model in place goes on")
            # Opening a database that is away is dear; asking one that was open is not.
            self._stop.wait(self._poll_s if self._engine is not None else max(self._poll_s, _FIRST_RETRY_S))

    def _pointer(self) -> tuple[_Pointer | None, bool]:
        """What should answer, and whether the database said so; while it is away, the mirror does."""
        try:
            table = schema.pointers
            with reading(self._opened()) as connection:
                row = connection.execute(
                    sa.select(table.c.version, table.c.sequence, table.c.changed_at).where(
                        table.c.name == self._name, table.c.alias == CHAMPION
                    )
                ).first()
        except Exception as error:  # noqa: BLE001 - whatever the database suffers from, answers go on
            if not self._away:
                logger.warning("the database is away, serving goes on: %s", error)
            self._away = True
            return (None if self.current else self._mirrored()), False
        if self._away:
            logger.info("the database is back")
            self._away = False
        return (None if row is None else _Pointer(row.version, row.sequence, row.changed_at)), True

    def _opened(self) -> sa.Engine:
        if self._engine is None:
            self._engine = open_database(self._storage.database)
        return self._engine

    def _wants(self, pointer: _Pointer) -> bool:
        if self.current is not None and pointer.version == self.current.version:
            if self._refused is not None or self.error is not None:
                # The pointer came back to what answers: the refusal is history.
                self._refused, self.error, self._seen_at = None, None, -_SEEN_EVERY_S
                self._tell()
            if pointer.since != self.current.since:
                self.current = LoadedModel(self._name, pointer.version, pointer.since, self.current.runtime)
            return False
        return pointer != self._refused or time.monotonic() >= self._retry_at

    def _load(self, pointer: _Pointer, *, reachable: bool) -> bool:
        begun = time.monotonic()
        try:
            runtime = self._open(pointer.version, reachable=reachable)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the old model stays
            self._refuse(pointer, error)
        else:
            self.current = LoadedModel(self._name, pointer.version, pointer.since, runtime)
            self._refused, self.error, self._retry_s = None, None, _FIRST_RETRY_S
            self._mirror(pointer)
            logger.info(
                "%s:%d answers now, %.2f s after it was seen", self._name, pointer.version, time.monotonic() - begun
            )
        self._tell()
        return True

    def _open(self, version: int, *, reachable: bool) -> Runtime:
        folder = self._folder / str(version)
        if reachable and self._engine is not None:
            folder = Registry(self._engine, open_objects(self._storage), self._name).fetch(version, self._folder)
        runtime = Runtime.open(folder)
        runtime.warm_up()
        return runtime

    def _refuse(self, pointer: _Pointer, error: Exception) -> None:
        # It is tried again, for a store that was away comes back; ever more rarely, for a corrupt file stays corrupt.
        again = pointer == self._refused
        self._retry_s = min(self._retry_s * 2, _LAST_RETRY_S) if again else _FIRST_RETRY_S
        self._refused, self._retry_at = pointer, time.monotonic() + self._retry_s
        self.error = f"version {pointer.version} was refused: {error}"
        kept = f"{self.current.title} goes on answering" if self.current else "no model answers yet"
        logger.error("%s; %s", self.error, kept)

    def _tell(self) -> None:
        if self._on_change is not None:
            self._on_change(self)

    def _mirror(self, pointer: _Pointer) -> None:
        facts = {"version": pointer.version, "sequence": pointer.sequence, "since": pointer.since.isoformat()}
        write_atomically(self._folder / "pointer.json", json.dumps(facts))
        versions = sorted(
            (path for path in self._folder.iterdir() if path.is_dir()), key=lambda path: path.stat().st_mtime
        )
        for old in versions[:-_KEPT_VERSIONS]:
            if old.name != str(pointer.version):
                shutil.rmtree(old, ignore_errors=True)

    def _mirrored(self) -> _Pointer | None:
        try:
            facts: dict[str, Any] = json.loads((self._folder / "pointer.json").read_text())
            return _Pointer(facts["version"], facts["sequence"], datetime.fromisoformat(facts["since"]))
        except (OSError, ValueError, KeyError):
            return None

    def _sign_in(self) -> None:
        assert self._engine is not None
        row = {
            "id": self._slot,
            "host": socket.gethostname(),
            "pid": getpid(),
            "slot": self._slot,
            "model_name": self._name,
            "version": self.current.version if self.current else None,
            "error": self.error,
            "started_at": self._started_at,
            "seen_at": now(),
        }
        with writing(self._engine) as connection:
            connection.execute(sa.delete(schema.serving_workers).where(self._mine()))
            connection.execute(sa.insert(schema.serving_workers).values(**row))
        self._seen_at = time.monotonic()

    def _mine(self) -> "sa.ColumnElement[bool]":
        return schema.serving_workers.c.id == self._slot
