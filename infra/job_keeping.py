"""Keeping a claimed job: signs of life while it is worked on, and an end to the work when it must not go on."""

import contextlib
import logging
import signal
import threading
import time
from collections.abc import Iterator
from types import FrameType

import sqlalchemy as sa

from infra.job_claims import FENCED_S, beat, standing
from infra.jobs import Job

_log = logging.getLogger(__name__)
_LOOK_EVERY_S = 1.0
_BEAT_EVERY_S = 10.0
# A farewell takes some seconds, and is not disturbed; an exception that was lost on its way up is repeated.
_INSIST_AFTER_S = 20.0
CANCELLED, LOST = "cancelled", "lost"


class Stopped(BaseException):
    """The work on a job must not go on. `why`: "cancelled" or "lost" (another may have it)."""

    def __init__(self, why: str, words: str) -> None:
        super().__init__(words)
        self.why = why


class Keeper:
    """Watches over one claimed job; made by `keeping`."""

    def __init__(self, engine: sa.Engine, job: Job) -> None:
        self._engine, self._job = engine, job
        self._over = threading.Event()
        self._undisturbed = False
        self._stop: Stopped | None = None

    @contextlib.contextmanager
    def undisturbed(self) -> Iterator[None]:
        """
        A block that is not stopped any more once it has begun: what it does is short, and better done whole.

        Raises:
            Stopped: the job's end was asked for before, or it is lost.
        """
        stop = self._stop or self._seen()
        if stop is not None:
            raise stop
        self._undisturbed = True
        try:
            yield
        finally:
            self._undisturbed = False
            # What was asked for meanwhile came too late.
            self._stop = None

    def watch(self) -> None:
        """Beat and look until told that it is over; runs in a thread."""
        heard = beaten = time.monotonic()
        sent = -_INSIST_AFTER_S
        while not self._over.wait(_LOOK_EVERY_S):
            at = time.monotonic()
            try:
                self._stop = self._stop or self._seen()
                if at - beaten >= _BEAT_EVERY_S and beat(self._engine, self._job):
                    beaten = at
                heard = at
            except sa.exc.SQLAlchemyError:
                _log.exception("How job %s stands could not be seen", self._job.id)
                if at - heard > FENCED_S:
                    words = f"the database was not reached for {FENCED_S:.0f} s: another machine may have the job"
                    self._stop = Stopped(LOST, words)
            if self._stop is not None and not self._undisturbed and at - sent > _INSIST_AFTER_S:
                sent = at
                signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR1)

    def interrupt(self, _number: int, _frame: FrameType | None) -> None:
        """The signal's handler, in the main thread."""
        if self._stop is not None and not self._undisturbed and not self._over.is_set():
            raise self._stop

    def end(self) -> None:
        """Say that the work is over."""
        self._over.set()

    def _seen(self) -> Stopped | None:
        stands = standing(self._engine, self._job)
        if stands is None:
            return Stopped(LOST, "another process has the job now, or it was closed meanwhile")
        if stands.cancel_asked_at is not None:
            return Stopped(CANCELLED, "its end was asked for")
        return None


@contextlib.contextmanager
def keeping(engine: sa.Engine, job: Job) -> Iterator[Keeper]:
    """
    Beat for the job while the block runs; where it must not go on, the block is left by `Stopped` within a second.

    Must be entered in the main thread, where signals arrive: one of them (SIGUSR1) is what leaves the block, also
    out of a long computation.
    """
    keeper = Keeper(engine, job)
    before = signal.signal(signal.SIGUSR1, keeper.interrupt)
    thread = threading.Thread(target=keeper.watch, name=f"job-{job.id}", daemon=True)
    thread.start()
    try:
        yield keeper
    finally:
        keeper.end()
        thread.join()
        signal.signal(signal.SIGUSR1, before)
