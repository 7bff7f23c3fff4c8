"""What honest and corrupted pictures of known meters are called: false alarms and found faults."""

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from models.images import decode
from monitoring.incoming.broken_pictures import (
    BLANK,
    BLURRED,
    CHANNELS_SWAPPED,
    LEAST_OF_A_SOURCE,
    SAME_FILE,
    STUCK,
    Fault,
    faults_of,
)
from monitoring.reference.profile import ReferenceProfile
from tests.benchmarks.monitoring_meters_world import Seen, World, encoded, pictures, profile_of
from tests.benchmarks.monitoring_rows import Row

_WINDOW, _MOST_WINDOWS = 40, 8
Pixels = NDArray[np.uint8]


def fault_rows(there: World, *, quick: bool) -> Iterator[Row]:
    """Of devices whose both halves fill a window: every later window as it is, and each corruption of it."""
    called: dict[str, Counter[str]] = {}
    where: dict[str, Counter[str]] = {}
    for device, profile, later in _halves(there):
        for start in range(0, len(later.paths) - _WINDOW + 1, _WINDOW)[: 1 if quick else _MOST_WINDOWS]:
            window = later.rows(np.arange(start, start + _WINDOW))
            for name, files in _versions(window):
                found = _called(there, profile, window, files)
                called.setdefault(name, Counter())[found] += 1
                where.setdefault(name, Counter())[f"{device}: {found}"] += 1
    for name, counts in called.items():
        total = sum(counts.values())
        wanted = {"black": BLANK, "one file": SAME_FILE, "frozen, packed anew": STUCK}.get(name, name)
        others = ", ".join(f"{kind} {count}" for kind, count in counts.items() if kind != wanted) or "nothing else"
        if name == "as it is":
            faults = total - counts["none"]
            why = ", ".join(f"{what} {count}" for what, count in where[name].items() if not what.endswith(": none"))
            what = f"faults named in {total} honest windows of known devices"
            yield Row(what, "", float(faults), goal="0", met=not faults, why=why)
        else:
            missed = [what for what in where[name] if not what.endswith(f": {wanted}")]
            text = f"{name}: windows of {total} called {wanted} (else: {others})"
            yield Row(text, "%", round(100 * counts[wanted] / total, 1), why="; ".join(missed))
    devices = _changes_of_device(there)
    yield Row(
        f"faults named in {len(devices)} windows of a device that the reference does not know",
        "",
        float(sum(devices)),
        goal="0",
        met=not any(devices),
    )


def _halves(there: World) -> Iterator[tuple[str, ReferenceProfile, Seen]]:
    devices = np.array(there.later.devices)
    for device in dict.fromkeys(there.later.devices):
        places = np.flatnonzero(devices == device)
        half = len(places) // 2
        if half >= _WINDOW:
            before = there.later.rows(places[:half])
            yield device, profile_of(there.batch(before), before.truth, (10, 100)), there.later.rows(places[half:])


def _versions(window: Seen) -> Iterator[tuple[str, list[bytes]]]:
    """The window's files as they are and spoilt, by name."""
    files = [Path(path).read_bytes() for path in window.paths]
    pixels = [decode(file).pixels for file in files]
    chance = np.random.default_rng(0)
    yield "as it is", files
    yield "black", [encoded(np.clip(chance.normal(4, 1.0, one.shape), 0, 255).astype(np.uint8)) for one in pixels]
    yield "one file", [files[0]] * len(files)
    yield "frozen, packed anew", [encoded(pixels[0], 85 + place % 10) for place in range(len(files))]
    yield CHANNELS_SWAPPED, [encoded(one[..., ::-1], 95) for one in pixels]
    yield BLURRED, [encoded(_blurred(one), 95) for one in pixels]


def _blurred(pixels: Pixels) -> Pixels:
    radius = max(1.5, pixels.shape[1] / 15)
    return np.asarray(Image.fromarray(pixels).filter(ImageFilter.GaussianBlur(radius)))


def _called(there: World, profile: ReferenceProfile, window: Seen, files: Sequence[bytes]) -> str:
    return _name(_faults(there, profile, window, files, "device"))


def _faults(
    there: World, profile: ReferenceProfile, window: Seen, files: Sequence[bytes], column: str
) -> tuple[Fault, ...]:
    statistics, shrunk = pictures(files)
    batch = there.batch(Seen(window.paths, window.truth, window.devices, window.days, statistics, shrunk))
    return faults_of(profile, batch, [hashlib.sha256(file).hexdigest() for file in files], column)


def _name(faults: Sequence[Fault]) -> str:
    return faults[0].kind if faults else "none"


def _changes_of_device(there: World) -> list[bool]:
    """Each device's pictures beside the first three groups' reference: other, and not broken."""
    devices, found = np.array(there.later.devices), []
    for device in dict.fromkeys(there.later.devices):
        places = np.flatnonzero(devices == device)
        for start in range(0, len(places) - LEAST_OF_A_SOURCE + 1, _WINDOW):
            window = there.later.rows(places[start : start + _WINDOW])
            if len(window.paths) >= LEAST_OF_A_SOURCE:
                files = [hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in window.paths]
                found.append(bool(faults_of(there.profile, there.batch(window), files, "device")))
    return found
