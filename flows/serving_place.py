"""What a change of champion needs of a project, and no more: a way back must not wait for libraries it does not use."""

from dataclasses import dataclass
from typing import Protocol

import sqlalchemy as sa

from infra.database import open_database
from infra.objects import open_objects
from infra.settings import Settings, load
from models.registry import Registry


class Serving(Protocol):
    """A project whose pointers can be moved; every `Workplace` is one."""

    @property
    def settings(self) -> Settings: ...

    @property
    def engine(self) -> sa.Engine: ...

    @property
    def registry(self) -> Registry: ...


@dataclass(frozen=True)
class ServingPlace:
    """One project, opened for its pointers alone: neither log nor tables."""

    settings: Settings
    engine: sa.Engine
    registry: Registry


def open_serving_place() -> ServingPlace:
    """
    Open the project in the current folder.

    Raises:
        UserError: the settings have mistakes, or the database cannot be opened.
    """
    settings = load()
    engine = open_database(settings.storage.database)
    return ServingPlace(settings, engine, Registry(engine, open_objects(settings.storage), settings.project.name))
