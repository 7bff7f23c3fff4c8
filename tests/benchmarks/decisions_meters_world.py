"""Meters in the order in which a site would meet them: the first three groups, then three arrivals of new devices."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tests.benchmarks.datasets import unpacked
from tests.meters import WHOLE, looks, place, split_of

FIRST = ("gasmeter-GMT", "powermeter-unknown", "new")
ARRIVALS = (
    ("ISKRA power meters", ("powermeter-ISKRA_T3F-01S1",)),
    ("Wasser-Geräte water meters", ("watermeter-Wasser_Geraete_GmbH", "watermeter-altair")),
    ("LCD displays", ("lcd", "lcd2")),
)
_UNDATED = {"lcd", "lcd2"}


@dataclass(frozen=True)
class Meter:
    """
    One picture of one digit.

    Attributes:
        session: Frames that follow each other show the same digit of the same meter: they share it.
    """

    path: Path
    label: str
    medium: str
    device: str
    session: str

    @property
    def place(self) -> float:
        return place(self.path.name + self.session)


@dataclass(frozen=True)
class Site:
    """
    What there is to send.

    Attributes:
        kept: What the first model is made from.
        home: More of the same devices, by sessions that were not kept.
        arrivals: Name, pictures that are sent while nobody knows them, and pictures of other sessions for afterwards.
    """

    kept: tuple[Meter, ...]
    home: tuple[Meter, ...]
    arrivals: tuple[tuple[str, tuple[Meter, ...], tuple[Meter, ...]], ...]


def site(data: Path, work: Path) -> Site:
    """Split by session, so that no near-copy of what was learnt is ever sent to measure."""
    folder = unpacked(data, "meter_digits", work)
    with (data / "meter_digits" / "manifest.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["tenth"] in WHOLE]
    meters = [
        Meter(folder / row["image"], row["label"], row["medium"], row["device"],
              f"{row['device']} {row['captured_on']} {row['label']}")
        for row in rows
    ]  # fmt: skip
    first = [one for one in meters if one.device in FIRST]
    kept = [one for one in first if place(one.session) < 0.70]
    arrivals = []
    for name, devices in ARRIVALS:
        mine = _in_sessions([one for one in meters if one.device in devices])
        met, later = _halves(mine)
        arrivals.append((name, met, later))
    return Site(tuple(kept), _shuffled([one for one in first if place(one.session) >= 0.70]), tuple(arrivals))


def write_manifest(path: Path, rows: Sequence[Meter]) -> None:
    """With a split of its own."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "label", "split", "medium", "device", "session"])
        for one in rows:
            writer.writerow([one.path.resolve(), one.label, split_of(one.session), one.medium, one.device, one.session])


def _halves(rows: Sequence[Meter]) -> tuple[tuple[Meter, ...], tuple[Meter, ...]]:
    met = [one for one in rows if place(one.session) < 0.65]
    return _shuffled(met), _shuffled([one for one in rows if place(one.session) >= 0.65])


def _shuffled(rows: Sequence[Meter]) -> tuple[Meter, ...]:
    return tuple(sorted(rows, key=lambda one: one.place))


def _in_sessions(rows: Sequence[Meter]) -> list[Meter]:
    """Devices with few dates are grouped by what looks alike instead."""
    sessions = {one.session for one in rows}
    if len(sessions) > 3 * len({one.label for one in rows}) and not _UNDATED & {one.device for one in rows}:
        return list(rows)
    alike = looks([one.path for one in rows])
    return [replace(one, session=f"{one.device} look {look}") for one, look in zip(rows, alike, strict=True)]
