"""
What arrives, before anybody looks into it: how much, from whom, and whether it is the same again.

Counts are held against what the same hour of the week brought in the weeks before, as a negative binomial: hours
scatter more than a Poisson count would, and a month has four of each.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import nbinom

from monitoring.incoming.usual_hours import HOUR, LEAST_HISTORY_HOURS, usual_at, usual_since

# One hour in so many may be called unusual without being so: less than one in a quarter of hours.
_RARE = 1e-4
# A source is missed when in its time it sent in nine of ten hours, and by now would have sent almost surely.
_FAITHFUL, _LEAST_ACTIVE_HOURS = 0.9, 24
_MOST_NAMED = 5
# A repeat or a gap in the metadata is noted when its share is this much above its usual one, and beyond chance.
_NOTED_RISE = 0.10


@dataclass(frozen=True)
class HourlyCounts:
    """
    Arrivals by hour and source, as the log has them.

    Attributes:
        first: Start of the first hour, UTC.
        counts: shape (H, S): whole hours, the newest the one before `now`'s own; no hour is left out.
        sources: S values of the source column; ("",) where none is declared.
        this_hour: shape (S,): arrivals since the last whole hour.
        last_at: Of each source, the newest arrival; None where it never came.
    """

    first: datetime
    counts: NDArray[np.int64]
    sources: tuple[str, ...]
    this_hour: NDArray[np.int64]
    last_at: tuple[datetime | None, ...]


@dataclass(frozen=True)
class Repeats:
    """Shares of the newest predictions and of those before, 0..1: the very same file again, and no metadata value."""

    rows: int
    repeated: float
    usual_rows: int
    usual_repeated: float
    missing: Mapping[str, float]
    usual_missing: Mapping[str, float]


@dataclass(frozen=True)
class Volume:
    """Arrivals in the last whole hour beside what is usual there, with an interval that holds in 99 of 100 hours."""

    hour: datetime
    arrived: int
    usual: float
    low: int
    high: int
    p_value: float


@dataclass(frozen=True)
class SilentSource:
    """A source that used to send: since when it is silent, and how many were usual since then."""

    source: str
    since: datetime
    usual: float


@dataclass(frozen=True)
class ArrivalReport:
    """
    What is unusual about the arrivals.

    Attributes:
        notes: Sentences, the most important first; none where nothing is unusual.
        volume: None where too little is known of such hours.
    """

    notes: tuple[str, ...]
    volume: Volume | None = None
    silent: tuple[SilentSource, ...] = ()
    new_sources: tuple[str, ...] = ()
    repeats: Repeats | None = None

    def to_json(self) -> dict[str, Any]:
        return {
            **asdict(self),
            "volume": None if self.volume is None else {**asdict(self.volume), "hour": self.volume.hour.isoformat()},
            "silent": [{**asdict(one), "since": one.since.isoformat()} for one in self.silent],
        }

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "ArrivalReport":
        volume, repeats = document["volume"], document["repeats"]
        return cls(
            tuple(document["notes"]),
            None if volume is None else Volume(**{**volume, "hour": datetime.fromisoformat(volume["hour"])}),
            tuple(SilentSource(**{**one, "since": datetime.fromisoformat(one["since"])}) for one in document["silent"]),
            tuple(document["new_sources"]),
            None if repeats is None else Repeats(**repeats),
        )


def arrivals(
    hourly: HourlyCounts | None, now: datetime, repeats: Repeats | None = None, column: str = ""
) -> ArrivalReport:
    """
    What is unusual now; it explains and warns, it never raises an alarm.

    Args:
        hourly: Of the last weeks; None where nothing has arrived yet.
        now: The moment that is asked about.
        repeats: Of the newest predictions.
        column: The source column, for the sentences.
    """
    if hourly is None or not len(hourly.counts):
        return ArrivalReport((), repeats=repeats)
    volume = volume_of(hourly)
    stopped = _stopped(hourly, now)
    silent = () if stopped else _silent(hourly, now)
    new = _new_sources(hourly)
    notes = [*stopped, *_volume_notes(volume, stopped), *_silence_notes(silent, column)]
    if new:
        notes.append(
            f"New in the last day, and not in the {_known(hourly)} before: {column} = {', '.join(new[:_MOST_NAMED])}."
        )
    return ArrivalReport((*notes, *_repeat_notes(repeats)), volume, silent, new, repeats)


def _known(hourly: HourlyCounts) -> str:
    days = max(1, round((len(hourly.counts) - 24) / 24))
    return "day" if days == 1 else f"{days} days"


def volume_of(hourly: HourlyCounts) -> Volume | None:
    """The last whole hour beside its kind; None where its kind is not known, or hardly brings anything."""
    totals = hourly.counts.sum(axis=1).astype(np.float64)
    hour = hourly.first + (len(totals) - 1) * HOUR
    found = usual_at(totals[:-1], len(totals) - 1)
    if found is None:
        return None
    usual, size = found
    law = nbinom(size, size / (size + usual))
    arrived = int(totals[-1])
    p_value = min(1.0, 2 * min(float(law.cdf(arrived)), float(law.sf(arrived - 1))))
    return Volume(hour, arrived, usual, int(law.ppf(0.005)), int(law.ppf(0.995)), p_value)


def _stopped(hourly: HourlyCounts, now: datetime) -> list[str]:
    """Whether everything has stopped: nothing came for so long that it cannot be chance."""
    last = max((at for at in hourly.last_at if at is not None), default=None)
    if last is None:
        return []
    usual = usual_since(hourly.counts.sum(axis=1).astype(np.float64), hourly.first, last, now)
    if usual is None or float(nbinom(usual[1], usual[1] / (usual[1] + usual[0])).pmf(0)) > _RARE:
        return []
    expected = f"at this hour {usual[2]:,.0f} are usual" if usual[2] else f"about {usual[0]:,.0f} were usual since then"
    return [f"Nothing has arrived since {last:%Y-%m-%d %H:%M} UTC; {expected}."]


def _silent(hourly: HourlyCounts, now: datetime) -> tuple[SilentSource, ...]:
    """Sources that sent in nearly every hour of theirs, and by now would have sent again almost surely."""
    if hourly.sources == ("",):
        return ()
    found = []
    others = hourly.counts.sum(axis=1)
    for place, (source, last) in enumerate(zip(hourly.sources, hourly.last_at, strict=True)):
        if last is None:
            continue
        begun = int((last - hourly.first) / HOUR)
        mine = hourly.counts[:begun, place]
        # Only hours in which anything came count: a site that rests at night is not silent.
        awake = others[:begun] > 0
        start = int(np.argmax(mine > 0)) if (mine > 0).any() else begun
        active = awake[start:]
        if active.sum() < _LEAST_ACTIVE_HOURS:
            continue
        sent = mine[start:][active]
        since = int((others[begun + 1 :] > 0).sum())
        missed = float(1 - (sent > 0).mean())
        if (sent > 0).mean() >= _FAITHFUL and since and max(missed, 1 / (len(sent) + 1)) ** since <= 1e-3:  # noqa: PLR2004 - see _FAITHFUL
            found.append(SilentSource(source, last, float(sent.mean() * since)))
    return tuple(sorted(found, key=lambda one: -one.usual))


def _new_sources(hourly: HourlyCounts) -> tuple[str, ...]:
    if hourly.sources == ("",) or len(hourly.counts) < LEAST_HISTORY_HOURS:
        return ()
    before = hourly.counts[:-24].sum(axis=0)
    lately = hourly.counts[-24:].sum(axis=0) + hourly.this_hour
    order = sorted(np.flatnonzero((before == 0) & (lately > 0)), key=lambda place: -lately[place])
    return tuple(hourly.sources[place] or "(none)" for place in order) if before.any() else ()


def _volume_notes(volume: Volume | None, stopped: Sequence[str]) -> list[str]:
    if volume is None or stopped or volume.p_value > _RARE:
        return []
    how = "few" if volume.arrived < volume.usual else "many"
    words = (
        f"Unusually {how} arrivals: {volume.arrived:,} in the hour from {volume.hour:%Y-%m-%d %H:%M} UTC, where "
        f"{volume.usual:,.0f} are usual ({volume.low:,} to {volume.high:,})."
    )
    return [words]


def _silence_notes(silent: Sequence[SilentSource], column: str) -> list[str]:
    notes = [
        f"{column} = {one.source} has been silent since {one.since:%Y-%m-%d %H:%M} UTC; about {one.usual:,.0f} were "
        "usual since then."
        for one in silent[:_MOST_NAMED]
    ]
    if len(silent) > _MOST_NAMED:
        notes.append(f"So are {len(silent) - _MOST_NAMED} more.")
    return notes


def _repeat_notes(repeats: Repeats | None) -> list[str]:
    if repeats is None or not repeats.rows:
        return []
    notes = []
    if _risen(repeats.repeated, repeats.usual_repeated, repeats):
        notes.append(
            f"{repeats.repeated:.0%} of the newest {repeats.rows} pictures are files that came before; "
            f"{repeats.usual_repeated:.0%} are usual."
        )
    for name, share in sorted(repeats.missing.items()):
        usual = repeats.usual_missing.get(name, 0.0)
        if _risen(share, usual, repeats):
            notes.append(
                f"{name} is missing in {share:.0%} of the newest {repeats.rows} predictions; {usual:.0%} is usual."
            )
    return notes


def _risen(share: float, usual: float, repeats: Repeats) -> bool:
    if not repeats.usual_rows:
        return False
    error = np.sqrt(max(usual, 1 / repeats.usual_rows) * (1 / repeats.rows + 1 / repeats.usual_rows))
    return bool(share - usual > max(_NOTED_RISE, 4 * error))
