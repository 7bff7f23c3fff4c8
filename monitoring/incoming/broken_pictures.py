"""
Pictures whose content is lost or spoilt: blank, stuck, with red and blue exchanged, out of focus.

Blank and stuck pictures are broken whoever sent them. Wrong colours and blur are changes, and a new camera may well
be warmer or softer: they are called faults only of a source that the reference knows, beside its own pictures there.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from monitoring.image_stats import NAMES
from monitoring.reference.profile import CATEGORY, ReferenceProfile
from monitoring.watching.batch import Batch, Floats

BLANK, SAME_FILE, STUCK, CHANNELS_SWAPPED, BLURRED = "blank", "same file", "stuck", "channels swapped", "blurred"

# No training can use these; other faults change a picture, which a person may well call normal.
LOST = (BLANK, SAME_FILE, STUCK)

# With fewer pictures of a source a run of alike ones is nothing strange.
LEAST_OF_A_SOURCE = 20

# Two and a half grey levels of 255: what a covered lens or a black frame leaves.
BLANK_CONTRAST = 0.01
_MOST_BROKEN = 0.5
_STATISTICS = {name: place for place, name in enumerate(NAMES)}
_LIGHT = ("brightness", "contrast", "sharpness", "saturation", "noise")


@dataclass(frozen=True)
class Fault:
    """
    One fault of one source.

    Attributes:
        kind: "blank", "same file", "stuck", "channels swapped" or "blurred".
        source: The value of the source column; "" for all pictures alike.
        mostly: The class that its pictures mostly came out as.
        share: Of the source's newest pictures, 0..1, that are so.
        pictures: Of the source, that were looked at.
        words: Without a full stop.
    """

    kind: str
    source: str
    mostly: str
    share: float
    pictures: int
    words: str


def faults_of(profile: ReferenceProfile, batch: Batch, files: Sequence[str], column: str) -> tuple[Fault, ...]:
    """
    The faults of each source with at least 20 pictures; where none has one, a fault of all pictures together.

    Args:
        profile: The champion's.
        batch: The newest predictions.
        files: SHA-256 of each picture.
        column: The source column; "" where none is declared.
    """
    if len(batch) < LEAST_OF_A_SOURCE:
        return ()
    sources = np.array([str(row.get(column, "")) for row in batch.metadata] if column else [""] * len(batch))
    found = []
    for source, count in Counter(sources.tolist()).most_common():
        if count < LEAST_OF_A_SOURCE:
            break
        rows = np.flatnonzero(sources == source)
        fault = _content_fault(profile, batch, files, rows, source, column)
        fault = fault or _changed_look(profile, batch, rows, source, column)
        if fault is not None:
            found.append(fault)
    # Many sources with a few pictures each may be broken together, behind one bad cable.
    whole = None if found else _content_fault(profile, batch, files, np.arange(len(batch)), "", "")
    return tuple(found) if whole is None else (whole,)


def _content_fault(
    profile: ReferenceProfile, batch: Batch, files: Sequence[str], rows: NDArray[np.intp], source: str, column: str
) -> Fault | None:
    statistics = batch.statistics[rows]
    contrast = statistics[:, _STATISTICS["contrast"]]
    usual = float(np.mean(profile.batch.statistics[:, _STATISTICS["contrast"]] < BLANK_CONTRAST))
    blank = contrast < BLANK_CONTRAST
    if blank.mean() >= max(_MOST_BROKEN, 2 * usual):
        return _fault(BLANK, batch, rows[blank], rows, source, column, "{share:.0%} of {which} are blank")
    file, count = Counter(files[row] for row in rows).most_common(1)[0]
    if count >= _MOST_BROKEN * len(rows):
        same = np.array([row for row in rows if files[row] == file])
        return _fault(SAME_FILE, batch, same, rows, source, column, "{count} of {which} are the very same file")
    alike = _alike(profile, batch, rows)
    if alike.mean() >= _MOST_BROKEN:
        words = "{share:.0%} of {which} hardly differ from one another, as of a camera that is stuck"
        return _fault(STUCK, batch, rows[alike], rows, source, column, words)
    return None


# A live sensor's noise and light move every number of a picture a little. In shares of the reference's own spread, 40
# honest pictures of one meter lay 0.49 (statistics) and 0.77 (embedding) or more from their middle one, a frozen frame
# that was packed anew at other qualities 0.23 and 0.04 or less. Without an embedding the statistics must suffice.
_STILL_STATISTICS, _STILL_EMBEDDING, _STILL_STATISTICS_ALONE = 0.25, 0.15, 0.05


def _alike(profile: ReferenceProfile, batch: Batch, rows: NDArray[np.intp]) -> NDArray[np.bool_]:
    """Which pictures agree with the middle one in everything that is measured."""
    light = [_STATISTICS[name] for name in _LIGHT]
    seen, spread = batch.statistics[rows][:, light], profile.scale[light]
    # A number that is missing is like no other, so that such pictures are never called stuck.
    away = (np.abs(seen - np.median(seen, axis=0)) / spread).max(axis=1)
    projected = profile.projection.apply(batch.embedding[rows])
    if not np.isfinite(projected).all():
        return np.asarray(away <= _STILL_STATISTICS_ALONE, dtype=np.bool_)
    apart = np.sqrt(((projected - np.median(projected, axis=0)) ** 2).mean(axis=1))
    return np.asarray((away <= _STILL_STATISTICS) & (apart <= _STILL_EMBEDDING), dtype=np.bool_)


def _changed_look(
    profile: ReferenceProfile, batch: Batch, rows: NDArray[np.intp], source: str, column: str
) -> Fault | None:
    known = _reference_of(profile, source, column)
    if known is None:
        return None
    now = batch.statistics[rows]
    if not _same_size(known, now):
        return None
    swapped = _channels_swapped(known, now)
    if swapped.mean() >= _MOST_CHANGED:
        words = "{which} look as if red and blue were exchanged ({share:.0%} of them)"
        return _fault(CHANNELS_SWAPPED, batch, rows[swapped], rows, source, column, words)
    blurred = _blurred(known, now)
    if blurred.mean() >= _MOST_CHANGED:
        words = "{which} have lost their sharpness and nothing else ({share:.0%} of them)"
        return _fault(BLURRED, batch, rows[blurred], rows, source, column, words)
    return None


# Of a source's pictures; higher than for blank ones, because a picture alone may happen to look so.
_MOST_CHANGED = 0.8
# Warmth must part the source's own pictures from their exchanged selves before its turning over says anything.
_LEAST_WARMTH, _FLIPPED = 0.02, (0.4, 2.5)
# Blur takes the finest structure first, which the noise measures, and steadier than it takes the slopes: under a blur
# of a fifteenth of the width it fell below nine tenths of the lowest 2 % on every one of eleven meters, and honest
# pictures of another day did not. Slopes alone depend on what is shown; they must only be lower than usual.
_LOWEST, _LOST_NOISE, _LOST_SHARPNESS = 0.02, 0.9, 0.85


def _channels_swapped(known: Floats, now: Floats) -> NDArray[np.bool_]:
    """
    Pictures whose warmth is nearer to the reference's turned over than to itself, while light and focus stay.

    Exchanging red and blue negates the warmth and moves the brightness by a fifth of it, and nothing else.
    """
    before, warmth = known[:, _STATISTICS["warmth"]], now[:, _STATISTICS["warmth"]]
    before = before[np.isfinite(before)]
    usual = float(np.median(before)) if len(before) else 0.0
    spread = 1.4826 * float(np.median(np.abs(before - usual))) if len(before) else 0.0
    if abs(usual) < max(_LEAST_WARMTH, 2 * spread):
        return np.zeros(len(now), dtype=bool)
    turned = -warmth / usual
    flipped = np.isfinite(turned) & (turned > _FLIPPED[0]) & (turned < _FLIPPED[1])
    return flipped & _within(known, now, ("contrast", "sharpness", "brightness"))


def _blurred(known: Floats, now: Floats) -> NDArray[np.bool_]:
    """Pictures without the fine structure that nearly all of the reference has, where slopes fell and light stays."""
    none = np.zeros(len(now), dtype=bool)
    noise, sharpness = (known[:, _STATISTICS[name]] for name in ("noise", "sharpness"))
    slopes = now[:, _STATISTICS["sharpness"]]
    if not (np.isfinite(noise).any() and np.isfinite(sharpness).any() and np.isfinite(slopes).any()):
        return none
    if np.nanmedian(slopes) >= _LOST_SHARPNESS * np.nanmedian(sharpness):
        return none
    lost = now[:, _STATISTICS["noise"]] < _LOST_NOISE * np.nanquantile(noise, _LOWEST)
    return lost & _within(known, now, ("brightness", "saturation", "warmth"))


def _within(known: Floats, now: Floats, names: Sequence[str]) -> NDArray[np.bool_]:
    """Which pictures lie where nearly all of the reference's do; a number that the reference never had says nothing."""
    inside = np.ones(len(now), dtype=bool)
    for name in names:
        before, values = known[:, _STATISTICS[name]], now[:, _STATISTICS[name]]
        before = before[np.isfinite(before)]
        if len(before):
            low, high = np.quantile(before, (0.01, 0.99))
            margin = 0.25 * (high - low)
            inside &= ~((values < low - margin) | (values > high + margin))
    return inside


def _same_size(known: Floats, now: Floats) -> bool:
    """Whether the pictures have a size the source had before: another size is another camera, or another crop."""
    return bool(_within(known, now, ("aspect", "megapixels")).mean() >= _MOST_CHANGED)


def _reference_of(profile: ReferenceProfile, source: str, column: str) -> Floats | None:
    """Statistics of the reference's pictures of this source; None where there are too few."""
    known = profile.columns.get(column)
    if not source or known is None or known.kind != CATEGORY or source not in known.values:
        return None
    rows = np.asarray(profile.plain.column(column).text == source, dtype=np.bool_)
    return profile.plain.statistics[rows] if rows.sum() >= LEAST_OF_A_SOURCE else None


def _fault(
    kind: str,
    batch: Batch,
    broken: NDArray[np.intp],
    rows: NDArray[np.intp],
    source: str,
    column: str,
    words: str,
) -> Fault:
    mostly, count = Counter(batch.labels[row] for row in broken.tolist()).most_common(1)[0]
    share = len(broken) / len(rows)
    said = words.format(share=share, count=len(broken), which=f"the newest {len(rows)} pictures")
    said += f" ({column} = {source})" if source else ""
    said += f", answered as {mostly} in {count} of {len(broken)} cases"
    return Fault(kind, source, mostly, share, len(rows), said)
