"""One project, opened: its settings and the places where it keeps things."""

import os
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import sqlalchemy as sa

from flows.overrides import Overrides
from infra.database import open_database
from infra.ledger import Ledger
from infra.objects import ObjectStore, open_objects
from infra.secret_keys import secret_key
from infra.settings import Settings, load
from models.registry import Registry

if TYPE_CHECKING:
    from monitoring.prediction_log import PredictionLog

_ROLE_KEY = "roles"
_ROLE_KEY_BYTES = 16
_MOST_DRAWING_S = 2.0


@dataclass(frozen=True)
class Workplace:
    """Everything a flow needs; opened once, handed down."""

    settings: Settings
    engine: sa.Engine
    objects: ObjectStore
    registry: Registry
    ledger: Ledger

    @property
    def log(self) -> "PredictionLog":
        """The prediction log; it holds nothing open, and its libraries wait until somebody reads it."""
        from monitoring.prediction_log import PredictionLog

        return PredictionLog(self.settings.storage)

    @property
    def fetched(self) -> Path:
        """Where flows keep local copies of versions; serving workers have a folder of their own."""
        return self.settings.storage.home / "versions"


def open_workplace(root: Path | None = None, overrides: Overrides | None = None) -> Workplace:
    """
    Open the project in `root` (the current folder where none is given), with what a command line changes of it.

    Raises:
        UserError: the settings have mistakes, or the database cannot be opened.
    """
    settings = load(root)
    if overrides is not None:
        settings = overrides.applied(settings)
    engine = open_database(settings.storage.database)
    objects = open_objects(settings.storage)
    return Workplace(
        settings=settings,
        engine=engine,
        objects=objects,
        registry=Registry(engine, objects, settings.project.name),
        ledger=Ledger(engine),
    )


def role_key(engine: sa.Engine, suits: Callable[[bytes], bool] = lambda key: True) -> bytes:
    """
    The secret by which groups of images get their role; made once, for ever.

    It is kept in the database, so that a group's role survives a change of machine, and is secret so that
    nobody can choose a group name that lands where they like.

    suits: asked of a key that is being made. Of twenty images of a class, chance alone leaves one time in thirteen
        none to select or none to judge; several keys are drawn until one suits, or the last is taken.
    """
    return secret_key(engine, _ROLE_KEY, lambda: _drawn_key(suits))


def _drawn_key(suits: Callable[[bytes], bool]) -> bytes:
    began = time.monotonic()
    while True:
        key = os.urandom(_ROLE_KEY_BYTES)
        if suits(key) or time.monotonic() - began > _MOST_DRAWING_S:
            return key
