"""A serving worker's row: which versions it answers with, what it refused, and that it is alive."""

import logging
import socket
import time
from os import getpid

import sqlalchemy as sa

from infra import schema
from infra.clock import now
from infra.database import writing
from service.lineup import Lineup

logger = logging.getLogger(__name__)

_EVERY_S = 2.0


class SignIn:
    """Writes the row of one slot, at every change and every two seconds."""

    def __init__(self, name: str, slot: str) -> None:
        self.slot = slot
        self._name, self._started_at = name, now()
        self._written_at = -_EVERY_S

    def on(
        self, engine: sa.Engine, lineup: Lineup | None, error: str | None, trial_error: str | None, *, changed: bool
    ) -> None:
        """Say what is so, if it is news or time again."""
        if not changed and time.monotonic() - self._written_at < _EVERY_S:
            return
        row = {
            "id": self.slot,
            "host": socket.gethostname(),
            "pid": getpid(),
            "slot": self.slot,
            "model_name": self._name,
            "version": lineup.champion.version if lineup else None,
            "error": error,
            "canary_version": lineup.canary.version if lineup and lineup.canary else None,
            "shadow_version": lineup.shadow.version if lineup and lineup.shadow else None,
            "rollout_error": trial_error,
            "started_at": self._started_at,
            "seen_at": now(),
        }
        try:
            with writing(engine) as connection:
                connection.execute(sa.delete(schema.serving_workers).where(schema.serving_workers.c.id == self.slot))
                connection.execute(sa.insert(schema.serving_workers).values(**row))
        except sa.exc.SQLAlchemyError as problem:
            logger.warning("could not sign in, it is tried again in %g s: %s", _EVERY_S, problem)
        self._written_at = time.monotonic()

    def off(self, engine: sa.Engine) -> None:
        """Say that this worker answers no more."""
        try:
            with writing(engine) as connection:
                connection.execute(sa.delete(schema.serving_workers).where(schema.serving_workers.c.id == self.slot))
        except sa.exc.SQLAlchemyError:
            logger.warning("could not sign off: the row of %s will grow old", self.slot)
