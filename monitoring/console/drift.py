"""The drift part of the page: atypical shares over time, and each lane's evidence against its threshold."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from monitoring.console import charts, words
from monitoring.console import windows as of_windows
from monitoring.console.charts import Line, Mark
from monitoring.console.rows import Row
from monitoring.console.windows import Detector, Reading, Window
from monitoring.watching import silence

# More lines than this cannot be told apart; the rest is counted in words.
_MOST_LINES = 6
_MOST_SIGNALS = 6
_RATE_WINDOWS = 5

_LANES = {
    "gross": (
        "Gross change",
        "Evidence that more images are atypical than is tolerated, in powers of ten; at the dashed line it alarms.",
        "Starts with the first window: it needs no history of traffic.",
    ),
    "labelled harm": (
        "Labelled harm",
        "Evidence that the champion errs more than its judged error plus a tolerance; at the dashed line it alarms.",
        "Starts with the first labels, when they are drawn at random or declared so (monitor.feedback_is_random).",
    ),
    "blocks": (
        "Slow change",
        "Evidence that blocks of traffic lie farther off than before, in powers of ten; at the dashed line it alarms.",
        "Starts once enough blocks (monitor.block, monitor.burn_in_blocks) can be ranked against.",
    ),
}
_UNITS = {"gross": "predictions", "labelled harm": "labels", "blocks": "ranked blocks"}


@dataclass(frozen=True)
class Meter:
    """One detector now; `filled` is its evidence as a percentage of the threshold, 0..100."""

    name: str
    filled: int
    text: str
    alarmed: bool


@dataclass(frozen=True)
class Lane:
    """
    One lane.

    Attributes:
        note: Says so where the present champion has nothing in it yet, and then there are no meters.
        says: What the lane can do so far, in its own words.
    """

    title: str
    lead: str
    figure: str
    detectors: tuple[Meter, ...]
    hidden: str
    note: str
    empty: str
    says: str = ""


@dataclass(frozen=True)
class Difference:
    """One signal; `filled` is its distance from the reference as a percentage, 0..100."""

    name: str
    filled: int
    text: str


@dataclass(frozen=True)
class Differences:
    """What differs most between one window and the reference; `contributors` names predictions to look at."""

    window: int
    largest: tuple[Difference, ...]
    new_values: tuple[str, ...]
    notes: tuple[str, ...]
    contributors: Mapping[str, tuple[str, ...]]


def marks(alarms: Sequence[Row], promotions: Sequence[Row]) -> tuple[Mark, ...]:
    """Alarms and promotions as moments for every chart."""
    found = [Mark(row["at"], row["lane"], "alarm") for row in alarms if row["lane"] != silence.LANE]
    found += [Mark(row["changed_at"], charts.PROMOTION, f"v{row['version']}") for row in promotions]
    return tuple(sorted(found, key=lambda mark: mark.at))


def atypical_figure(windows: Sequence[Window], marked: Sequence[Mark]) -> str:
    """The share of atypical predictions per channel over time; "" while there is none."""
    names = list(dict.fromkeys(channel.name for window in windows for channel in window.atypical))
    if not names:
        return ""
    at = tuple(window.ended_at for window in windows)
    notes = tuple(f"window {window.sequence}, v{window.model_version}" for window in windows)
    shares = [{channel.name: channel.share for channel in window.atypical} for window in windows]
    lines = [Line(name, at, tuple(share.get(name) for share in shares), notes=notes) for name in names]
    tolerated = [window.tolerance for window in windows]
    limit = Line("tolerated", at, tuple(tolerated)) if any(value is not None for value in tolerated) else None
    return charts.shares(lines, marked, limit)


def differences(window: Window | None) -> Differences | None:
    """The signals of one window that are furthest from the reference; None without a window."""
    if window is None:
        return None
    largest = sorted(window.differences, key=lambda signal: -signal.effect)[:_MOST_SIGNALS]
    shown = [
        Difference(_signal_name(signal), round(100 * min(1.0, max(0.0, signal.effect))), _moved(signal))
        for signal in largest
    ]
    return Differences(window.sequence, tuple(shown), window.new_values, window.notes, window.contributors)


def lanes(
    readings: Sequence[Reading], marked: Sequence[Mark], champion: int | None, verdict: Row | None = None
) -> tuple[Lane, ...]:
    """Every lane with its evidence over time; what each says is of the newest verdict, if that is the champion's."""
    present = verdict is not None and verdict["model_version"] == champion
    said = verdict["evidence"].get("lanes") or {} if verdict is not None and present else {}
    drawn = {name: _lane(name, readings, marked, champion) for name in _LANES}
    return tuple(replace(lane, says=_sentence(said.get(name, ""))) for name, lane in drawn.items())


def rate(windows: Sequence[Window]) -> float | None:
    """Predictions per second over the newest windows; None while no time has passed in them."""
    newest = windows[-_RATE_WINDOWS:]
    if not newest:
        return None
    seconds = (newest[-1].ended_at - newest[0].started_at).total_seconds()
    return sum(window.predictions for window in newest) / seconds if seconds > 0 else None


def _lane(name: str, readings: Sequence[Reading], marked: Sequence[Mark], champion: int | None) -> Lane:
    title, lead, empty = _LANES[name]
    drawn = [reading for reading in readings if any(found.lane == name and found.units for found in reading.detectors)]
    if not drawn:
        return Lane(title, lead, "", (), "", "", empty)
    newest = [found for found in drawn[-1].detectors if found.lane == name]
    strongest = sorted(newest, key=_fullness, reverse=True)[:_MOST_LINES]
    # In their own order, so that a colour stays with its detector.
    shown = [found for found in newest if found in strongest]
    hidden = len(newest) - len(shown)
    farthest = max(found.threshold for reading in drawn for found in reading.detectors if found.lane == name)
    mine = [mark for mark in marked if mark.kind in (charts.PROMOTION, name)]
    # Evidence begins anew with each champion: an alarm of its predecessor is no news about it.
    present = drawn[-1].model_version == champion
    return Lane(
        title=title,
        lead=lead,
        figure=charts.evidence([_line(name, found.name, drawn) for found in shown], mine, max(1.0, farthest)),
        detectors=tuple(_meter(detector) for detector in shown) if present else (),
        hidden=f"{words.plural(hidden, 'further detector')} with less evidence." if hidden and present else "",
        note="" if present else f"No {_UNITS[name]} under v{champion} yet: what is drawn is its predecessor's.",
        empty=empty,
    )


def _sentence(text: str) -> str:
    return text[:1].upper() + text[1:] + "." if text else ""


def _line(lane: str, detector: str, readings: Sequence[Reading]) -> Line:
    """One detector over time, with a gap where the champion changed: evidence began anew there, it did not fall."""
    at: list[datetime] = []
    values: list[float | None] = []
    notes: list[str] = []
    before: int | None = None
    for reading in readings:
        found = next((one for one in reading.detectors if one.lane == lane and one.name == detector), None)
        if before not in (None, reading.model_version):
            at.append(reading.at)
            values.append(None)
            notes.append("")
        before = reading.model_version
        at.append(reading.at)
        values.append(found.evidence - found.threshold if found else None)
        notes.append(f"{_standing(found)}, {words.count(found.units)} seen" if found else "")
    return Line(detector, tuple(at), tuple(values), notes=tuple(notes), joined=False)


def _fullness(detector: Detector) -> float:
    return detector.evidence / detector.threshold if detector.threshold > 0 else 0.0


def _meter(detector: Detector) -> Meter:
    filled = round(100 * min(1.0, max(0.0, _fullness(detector))))
    text = _standing(detector)
    return Meter(detector.name, filled, f"alarm · {text}" if detector.alarmed else text, detector.alarmed)


def _standing(detector: Detector) -> str:
    return f"{detector.evidence:.1f} of {detector.threshold:.1f}"


def _signal_name(signal: of_windows.Difference) -> str:
    return signal.name if signal.family in signal.name else f"{signal.name} ({signal.family})"


def _moved(signal: of_windows.Difference) -> str:
    if signal.reference is None or signal.window is None:
        return f"{signal.effect:.2f}"
    return f"{signal.reference:.3g} \u2192 {signal.window:.3g}"
