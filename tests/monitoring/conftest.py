from collections.abc import Callable
from pathlib import Path

import pytest

from infra.database import open_database
from infra.objects import open_objects
from infra.settings import load
from models.registry import Registry
from monitoring.prediction_log import PredictionLog
from monitoring.reference.profile import ReferenceProfile
from monitoring.watch import WatchPlace
from tests.monitoring.birds import Birds, Station, bird_profile


@pytest.fixture(scope="session")
def reference() -> ReferenceProfile:
    return bird_profile()


@pytest.fixture
def birds() -> Birds:
    return Birds()


@pytest.fixture
def open_station(tmp_path: Path, reference: ReferenceProfile) -> Callable[..., Station]:
    """A station with version 1 as champion; keyword arguments are settings, as `monitor__window=100`."""

    def open_it(*, champion: bool = True, profile: bool = True, folder: Path = tmp_path, **values: object) -> Station:
        folder.mkdir(exist_ok=True)
        environ = {
            "KEDGE_DATA__SOURCE": "camera",
            "KEDGE_DATA__SUBGROUPS": '["camera"]',
            "KEDGE_MONITOR__FEEDBACK_IS_RANDOM": "true",
        }
        environ |= {f"KEDGE_{name.upper()}": str(value) for name, value in values.items()}
        settings = load(folder, environ)
        engine = open_database(settings.storage.database)
        objects = open_objects(settings.storage)
        registry = Registry(engine, objects, settings.project.name)
        station = Station(WatchPlace(settings, engine, objects, registry, PredictionLog(settings.storage)))
        if champion:
            station.promote(1, folder, reference if profile else None)
        return station

    return open_it
