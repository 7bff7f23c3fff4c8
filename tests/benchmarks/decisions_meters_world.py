"""Meters in the order in which a site would meet them: the first devices, then three arrivals of new ones."""

import csv
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from tests.benchmarks.datasets import unpacked
from tests.meters import looks, place

ARRIVALS = (
    ("ISKRA power meters", ("powermeter-ISKRA_T3F-01S1", "powermeter-ISKRA.T3F-01S1_20250630")),
    ("Water meters", (
        "watermeter-Unknown", "watermeter-pp", "watermeter-altair", "watermeter-Wasser_Geraete_GmbH",
        "watermeter-integra", "watermeter-jvi", "watermeter-OOVW",
    )),
    ("LCD displays", ("lcd", "lcd2")),
)  # fmt: skip
# Tenths by which the digit has rolled on while most of it is still to be seen.
_SHOWN = {"", "0", "1", "2", "3", "4"}
# Of the first devices' sessions; the rest goes on to be sent, and a part of that is measured and never labelled.
_KEPT, _SENT = 0.50, 0.80
_MET = 0.75
# A site that means to be judged keeps more than the usual share for it.
_TRAIN, _SELECT = 0.55, 0.67


@dataclass(frozen=True)
class Meter:
    """
    One picture of one digit.

    Attributes:
        session: Pictures that are nearly the same, as frames that follow each other are: they share it.
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
        home_later: The same by sessions that are never labelled, for afterwards.
        arrivals: Name, pictures that are sent while nobody knows them, and pictures of other sessions for afterwards.
    """

    kept: tuple[Meter, ...]
    home: tuple[Meter, ...]
    home_later: tuple[Meter, ...]
    arrivals: tuple[tuple[str, tuple[Meter, ...], tuple[Meter, ...]], ...]


def site(data: Path, work: Path) -> Site:
    """Split by session, so that no near-copy of what was learnt is ever sent to measure."""
    folder = unpacked(data, "meter_digits", work)
    with (data / "meter_digits" / "manifest.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if row["tenth"] in _SHOWN]
    meters = [Meter(folder / row["image"], row["label"], row["medium"], row["device"], "") for row in rows]
    named = [one for device in sorted({one.device for one in meters})
             for one in _in_sessions([each for each in meters if each.device == device])]  # fmt: skip
    new = {device for _, devices in ARRIVALS for device in devices}
    first = [one for one in named if one.device not in new]
    arrivals = []
    for name, devices in ARRIVALS:
        mine = [one for one in named if one.device in devices]
        arrivals.append((name, _between(mine, 0.0, _MET), _between(mine, _MET, 1.0)))
    return Site(
        _between(first, 0.0, _KEPT), _between(first, _KEPT, _SENT), _between(first, _SENT, 1.0), tuple(arrivals)
    )


def write_manifest(path: Path, rows: Sequence[Meter]) -> None:
    """With a split of its own, by session."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["image", "label", "split", "medium", "device", "session"])
        for one in rows:
            drawn = place(f"split of {one.session}")
            split = "train" if drawn < _TRAIN else "select" if drawn < _SELECT else "judge"
            writer.writerow([one.path.resolve(), one.label, split, one.medium, one.device, one.session])


def _between(rows: Sequence[Meter], low: float, high: float) -> tuple[Meter, ...]:
    """Those whose session has its place there, in an order that is no order."""
    return tuple(sorted((one for one in rows if low <= place(one.session) < high), key=lambda one: one.place))


def _in_sessions(rows: Sequence[Meter]) -> list[Meter]:
    """Pictures of one device, with what looks alike in one session: dates are too few to tell sessions by."""
    alike = looks([one.path for one in rows])
    return [replace(one, session=f"{one.device} look {look}") for one, look in zip(rows, alike, strict=True)]
