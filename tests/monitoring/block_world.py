"""Days of traffic for the block lane: a station to which whole days arrive."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import numpy as np

from models.prediction import Prediction
from monitoring.blocks.cutting import Block
from monitoring.blocks.rows import load_blocks
from monitoring.evidence_records import BLOCKS, Detector
from monitoring.watching.state import load_state
from tests.monitoring.birds import Birds, Station

FIRST = datetime(2026, 9, 1, tzinfo=UTC)


def a_day(birds: Birds, number: int, count: int = 210, *, lighter: float = 0.0, **kinds: object) -> list[Prediction]:
    """The predictions of one day; `lighter` moves their brightness by so many standard deviations."""
    birds.clock = FIRST + timedelta(days=number, hours=1)
    rows = birds.traffic(count, camera="AB"[number % 2], **kinds)[0]  # type: ignore[arg-type]
    cameras = np.random.default_rng(number).integers(0, 2, count)
    return [
        replace(
            row, metadata={"camera": "AB"[camera]}, statistics=(row.statistics[0] + 0.05 * lighter, *row.statistics[1:])
        )
        for row, camera in zip(rows, cameras, strict=True)
    ]


def days(station: Station, birds: Birds, first: int, last: int, **kinds: object) -> None:
    """Whole days arrive, from the first to the last, the last not included."""
    for number in range(first, last):
        station.arrive(a_day(birds, number, **kinds))  # type: ignore[arg-type]


def blocks_of(station: Station) -> list[Block]:
    return load_blocks(station.place.engine, station.place.name)


def lane_of(station: Station) -> dict[str, Detector]:
    evidence = load_state(station.place.engine, station.place.name).evidence
    assert evidence is not None
    return {one.name: one for one in evidence.detectors if one.lane == BLOCKS}


def words_of(station: Station) -> str:
    evidence = load_state(station.place.engine, station.place.name).evidence
    assert evidence is not None
    return evidence.block_words
