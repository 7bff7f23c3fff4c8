"""The project of cards with its real service on a real port, in a thread of the test."""

import contextlib
import threading
from collections.abc import Iterator
from pathlib import Path

import uvicorn

from service.http import create_app
from service.segments import OPEN
from service.shipper import Shipper
from tests.service.cards import Place, answers, new_place, wait_for


@contextlib.contextmanager
def served_cards(folder: Path) -> Iterator[Place]:
    """A champion that answers; the folder of the project is `place.settings.root`."""
    place = new_place(folder)
    place.champion()
    config = uvicorn.Config(
        create_app(place.settings), port=place.settings.serve.port, log_level="critical", lifespan="on"
    )
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_for(lambda: answers(f"{place.url}/readyz"))
        yield place
    finally:
        server.should_exit = True
        thread.join()


def ship(place: Place) -> None:
    """Bring what was answered to the tables, as the shipper's process does; workers seal by themselves."""
    wait_for(lambda: not list(place.spool.glob(f"*/*{OPEN}")))
    shipper = Shipper(place.settings)
    shipper.ship_all()
    shipper.close()
