"""Where the watcher reads and writes."""

from dataclasses import dataclass

import sqlalchemy as sa

from infra.objects import ObjectStore
from infra.settings import Settings
from models.registry import Registry
from monitoring.prediction_log import PredictionLog


@dataclass(frozen=True)
class WatchPlace:
    """One project's places, opened."""

    settings: Settings
    engine: sa.Engine
    objects: ObjectStore
    registry: Registry
    log: PredictionLog

    @property
    def name(self) -> str:
        """The model's."""
        return self.settings.project.name
