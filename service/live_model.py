"""The models that answer: follows the pointers, and never lets go of a good champion for a bad one."""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import sqlalchemy as sa

from infra.database import open_database
from infra.ledger import Ledger
from infra.settings import Settings
from models.champions import CHAMPION
from models.rollouts import CANARY, SHADOW
from models.runtime import Runtime
from service.lineup import Lineup, LoadedModel
from service.pointers import Pointer, Pointers, read, read_mirror, write_mirror
from service.resident import Resident
from service.sign_in import SignIn

logger = logging.getLogger(__name__)

_FIRST_RETRY_S, _LAST_RETRY_S = 1.0, 30.0


@dataclass
class _Refused:
    """A pointer that could not be followed, and when to try again."""

    pointer: Pointer
    reason: str
    retry_at: float
    retry_s: float


class LiveModel:
    """
    Looks for new pointers every `serve.poll_ms`, on a thread of its own.

    A version is fetched, its hashes checked, loaded, warmed up and asked its golden inputs while the old one answers;
    then one reference changes. Whatever fails on the way leaves the old one in place, and the reason in `error` (or,
    for a canary or shadow, in `trial_error`) and in the ledger. The champion before stays in memory, so that a
    rollback loads nothing.
    """

    def __init__(
        self, settings: Settings, slot: str, *, on_change: Callable[["LiveModel"], None] | None = None
    ) -> None:
        self.lineup: Lineup | None = None
        self._name, self._database = settings.project.name, settings.storage.database
        self._poll_s = settings.serve.poll_ms / 1000
        self._resident = Resident(settings)
        self._sign_in = SignIn(settings.project.name, slot)
        self._on_change = on_change
        self._engine: sa.Engine | None = None
        self._before: int | None = None
        self._refused: dict[str, _Refused] = {}
        self._away = False
        self._stop, self._looked = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._watch, name="live-model", daemon=True)

    @property
    def current(self) -> LoadedModel | None:
        """The champion; None before there is one."""
        return None if self.lineup is None else self.lineup.champion

    @property
    def error(self) -> str | None:
        """Why the champion that the pointer names does not answer; None where it does."""
        refused = self._refused.get(CHAMPION)
        return None if refused is None else refused.reason

    @property
    def trial_error(self) -> str | None:
        """Why a canary or shadow is not tried; None where it is, or where there is none."""
        refusals = tuple(self._refused.items())  # the thread that follows the pointers changes them
        return next((refused.reason for alias, refused in refusals if alias != CHAMPION), None)

    @property
    def resident(self) -> tuple[int, ...]:
        """The versions in memory."""
        return self._resident.versions

    def start(self, patience_s: float = 0.0) -> None:
        """
        Begin to follow the pointers, and wait a while for the first look to be done.

        A worker that takes connections before its model is there would turn its first callers away.
        """
        self._thread.start()
        self._looked.wait(patience_s)

    def close(self) -> None:
        """Stop following, and sign off from the list of workers."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(timeout=10)
        if self._engine is not None:
            self._sign_in.off(self._engine)
            self._engine.dispose()

    def look(self) -> None:
        """One look at the pointers, and what follows from it."""
        pointers, engine = self._pointers()
        changed = self._follow(pointers, engine)
        if changed and self._on_change is not None:
            self._on_change(self)
        if engine is not None:
            self._sign_in.on(engine, self.lineup, self.error, self.trial_error, changed=changed)

    def _watch(self) -> None:
        while not self._stop.is_set():
            try:
                self.look()
            except Exception:
                logger.exception("looking for a new champion failed; the model in place goes on")
            self._looked.set()
            # Opening a database that is away is dear; asking one that was open is not.
            self._stop.wait(self._poll_s if self._engine is not None else max(self._poll_s, _FIRST_RETRY_S))

    def _pointers(self) -> tuple[Pointers | None, sa.Engine | None]:
        """What should answer, and the database if it said so; while it is away, the mirror speaks, but only first."""
        try:
            if self._engine is None:
                self._engine = open_database(self._database)
            pointers = read(self._engine, self._name)
        except Exception as error:  # noqa: BLE001 - whatever the database suffers from, answers go on
            if not self._away:
                logger.warning("the database is away, serving goes on: %s", error)
            self._away = True
            return (None if self.lineup else read_mirror(self._resident.folder)), None
        if self._away:
            logger.info("the database is back")
            self._away = False
        return pointers, self._engine

    def _follow(self, pointers: Pointers | None, engine: sa.Engine | None) -> bool:
        """Bring the line-up to what the pointers say, as far as that can be; tells whether anything changed."""
        if pointers is None or pointers.champion is None:
            return False
        before = self.lineup, dict(self._refused)
        champion = self._loaded(pointers.champion, self.current, engine) or self.current
        if champion is None:
            return before[1] != self._refused
        for alias, pointer in ((CANARY, pointers.canary), (SHADOW, pointers.shadow)):
            if pointer is None:
                self._refused.pop(alias, None)
        old = self.lineup
        canary = self._trial(pointers.canary, champion, old.canary if old else None, engine)
        shadow = self._trial(pointers.shadow, champion, old.shadow if old else None, engine)
        lineup = Lineup(champion, canary, shadow)
        if old is None or lineup != old:
            self._swap(old, lineup, pointers.champion)
        if champion.version == pointers.champion.version:
            self._make_room(pointers.champion, engine)
        return before != (self.lineup, self._refused)

    def _trial(
        self, pointer: Pointer | None, champion: LoadedModel, old: LoadedModel | None, engine: sa.Engine | None
    ) -> LoadedModel | None:
        if pointer is None or pointer.version == champion.version:
            return None
        classes = champion.runtime.artifact.classes
        if old is not None and not _classes_fit(pointer.alias, old.runtime, classes):
            old = None  # the champion beside it is another one now
        return self._loaded(pointer, old, engine, classes)

    def _loaded(
        self,
        pointer: Pointer,
        present: LoadedModel | None,
        engine: sa.Engine | None,
        classes: Sequence[str] | None = None,
    ) -> LoadedModel | None:
        """
        The version that a pointer names, loaded where it is not yet; None where it cannot be, or not now.

        classes: of the champion beside it; None = any.
        """
        if present is not None and present.version == pointer.version:
            # Where the pointer came back to what answers, a refusal of another version is history.
            refused = self._refused.get(pointer.alias)
            if refused is not None and refused.pointer != pointer:
                del self._refused[pointer.alias]
            if (present.since, present.share) == (pointer.since, pointer.share):
                return present
            return LoadedModel(self._name, pointer.version, pointer.since, present.runtime, pointer.share)
        refused = self._refused.get(pointer.alias)
        if refused is not None and refused.pointer == pointer and time.monotonic() < refused.retry_at:
            return None
        begun = time.monotonic()
        try:
            runtime = self._resident.runtime(pointer.version, engine)
            if classes is not None and not _classes_fit(pointer.alias, runtime, classes):
                raise ValueError("its classes are not those of the champion")
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it, the old model stays
            self._refuse(pointer, str(error), engine)
            return None
        self._refused.pop(pointer.alias, None)
        seconds = time.monotonic() - begun
        logger.info("%s:%d is ready as %s after %.2f s", self._name, pointer.version, pointer.alias, seconds)
        return LoadedModel(self._name, pointer.version, pointer.since, runtime, pointer.share)

    def _swap(self, old: Lineup | None, lineup: Lineup, pointer: Pointer) -> None:
        self.lineup = lineup
        if old is None or old.champion.version != lineup.champion.version:
            self._before = None if old is None else old.champion.version
            logger.info("%s answers now", lineup.champion.title)
            try:
                write_mirror(self._resident.folder, pointer)
            except OSError as error:
                # It answers all the same, as after a rollback on a full disk.
                logger.warning("not remembered for when the database is away: %s", error)

    def _make_room(self, champion: Pointer, engine: sa.Engine | None) -> None:
        """Hold what answers and what a rollback would return to, and nothing else."""
        lineup = self.lineup
        assert lineup is not None
        before = self._before if self._before is not None else champion.previous
        answering = [model.version for model in (lineup.champion, lineup.canary, lineup.shadow) if model]
        if before is not None and before not in self._resident.versions and engine is not None:
            try:
                self._resident.runtime(before, engine)
            except Exception as error:  # noqa: BLE001 - a rollback will load it, or say why it cannot
                logger.warning("version %d, to go back to, cannot be held ready: %s", before, error)
                self._before = before = lineup.champion.version
        self._resident.keep_only([*answering, *([] if before is None else [before])])

    def _refuse(self, pointer: Pointer, reason: str, engine: sa.Engine | None) -> None:
        # It is tried again, for a store that was away comes back; ever more rarely, for a corrupt file stays corrupt.
        refused = self._refused.get(pointer.alias)
        again = refused is not None and refused.pointer == pointer
        retry_s = min(refused.retry_s * 2, _LAST_RETRY_S) if refused is not None and again else _FIRST_RETRY_S
        words = f"version {pointer.version} was refused: {reason}"
        self._refused[pointer.alias] = _Refused(pointer, words, time.monotonic() + retry_s, retry_s)
        kept = f"{self.current.title} goes on answering" if self.current else "no model answers yet"
        logger.error("%s (%s); %s", words, pointer.alias, kept)
        if engine is not None and not again:
            facts = {"alias": pointer.alias, "version": pointer.version, "worker": self._sign_in.slot, "reason": reason}
            Ledger(engine).append("serving", "refused", facts)


def _classes_fit(alias: str, runtime: Runtime, classes: Sequence[str]) -> bool:
    """Whether it may be tried beside a champion of these classes; a shadow, which answers nobody, may know more."""
    own = runtime.artifact.classes
    return own == classes or (alias == SHADOW and set(classes) <= set(own))
