"""Windows: what is reported and drawn, a fixed number of predictions at a time."""

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

import sqlalchemy as sa

from infra import schema
from infra.database import reading
from monitoring.estimates.estimate import Estimate
from monitoring.evidence_records import GROSS, DetectorEvidence
from monitoring.identification import ShiftReport
from monitoring.incoming.broken_pictures import Fault
from monitoring.performance import Interval, Performance
from monitoring.signals import DriftReport, Signal, drift_report
from monitoring.watching.batch import Batch
from monitoring.window_analysis import analyse
from monitoring.window_columns import WindowColumns, time_span

FULL, SUCCEEDED = "full", "the champion changed"

_MOST_SUBGROUPS = 200
_MOST_TELLING, _MOST_NAMED = 5, 6


@dataclass(frozen=True)
class SubgroupCount:
    """One value of a subgroup column: how many predictions, and of the labelled ones how many were right."""

    column: str
    value: str
    predictions: int
    labelled: int = 0
    right: int = 0
    accuracy: float | None = None
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class ClassRates:
    """One class among the labelled predictions of a window; None where nothing was counted."""

    label: str
    images: int
    precision: float | None
    recall: float | None


@dataclass(frozen=True)
class WindowSummary:
    """
    A window in figures, as kept in its row.

    Attributes:
        closed_because: "full", or "the champion changed" for the rest of a predecessor's predictions.
        labelled: Predictions with a label so far; grows while labels come in.
        atypical: Channel to the share of atypical predictions, 0..1.
        mix: Predicted class to its share, 0..1.
        evidence: As it stood when the window closed.
        p_value: Of the window beside its reference, over all signals; `differs` says it in words.
        estimate: Accuracy as far as the answers tell it; None where it could not be computed.
        shift: What kind of shift the window shows; None where it could not be told.
        faults: Of the newest pictures when the window closed.
        origin: Detector to the newest block's distance from the first training's images, 0..1.
        contributors: Of the signals with the largest effect, as "family: name", the ids that contributed most.
    """

    predictions: int
    model_version: int
    closed_because: str
    labelled: int
    right: int
    accuracy: Interval
    atypical: Mapping[str, float]
    signals: tuple[Signal, ...]
    evidence: tuple[DetectorEvidence, ...]
    block_lane: str
    mix: Mapping[str, float]
    subgroups: tuple[SubgroupCount, ...]
    classes: tuple[ClassRates, ...]
    new_values: Mapping[str, Mapping[str, int]]
    repeated_images: int
    notes: tuple[str, ...]
    p_value: float | None = None
    differs: str = ""
    estimate: Estimate | None = None
    shift: ShiftReport | None = None
    faults: tuple[Fault, ...] = ()
    origin: Mapping[str, float] = field(default_factory=dict)
    contributors: Mapping[str, Sequence[str]] = field(default_factory=dict)

    def to_json(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class WindowSpan:
    """When a window ran; both ends belong to it."""

    sequence: int
    model_version: int
    started_at: datetime
    ended_at: datetime


@dataclass(frozen=True)
class Window:
    """
    Consecutive predictions of one model version.

    Attributes:
        sequence: Counts from 1 per model name, without gaps.
        started_at, ended_at: Times of its earliest and latest prediction.
    """

    name: str
    sequence: int
    model_version: int
    started_at: datetime
    ended_at: datetime
    predictions: int
    summary: WindowSummary

    def row(self) -> dict[str, Any]:
        """As the table `windows` keeps it."""
        return {**vars(self), "summary": self.summary.to_json(), "report_key": None}


def summarise(
    columns: WindowColumns,
    *,
    subgroups: Sequence[str],
    evidence: Sequence[DetectorEvidence],
    block_lane: str,
    closed_because: str = FULL,
    at: datetime,
    group: str = "",
    detectors: Sequence[str] = (),
) -> WindowSummary:
    """
    A window without any label yet; `with_labels` adds them as they arrive.

    at: The time of the look, which no prediction can be later than.
    group: Metadata column of predictions that belong together; "" = each stands alone.
    detectors: Users' own, as the setting `monitor.detectors` names them.
    """
    batch, total = columns.batch, max(1, len(columns))
    report = drift_report(columns.profile, batch, detectors)
    counts, notes = _subgroup_counts(batch, subgroups)
    notes += _time_notes(columns, at)
    mix = batch.coded_labels.counts()
    quiet = not any(one.lane == GROSS and one.alarmed_at is not None for one in evidence)
    found = analyse(columns, subgroups=subgroups, group=group, gross_quiet=quiet)
    return WindowSummary(
        predictions=len(columns),
        model_version=columns.model_version,
        closed_because=closed_because,
        labelled=0,
        right=0,
        accuracy=Interval(None, None, None),
        atypical=report.atypical,
        signals=report.signals,
        evidence=tuple(evidence),
        block_lane=block_lane,
        mix={label: count / total for label, count in sorted(mix.items())},
        subgroups=tuple(counts),
        classes=(),
        new_values=report.new_values,
        repeated_images=columns.repeated_images,
        notes=(*report.notes, *notes, *found.notes),
        p_value=report.whole.p_value,
        differs=report.whole.words,
        estimate=found.estimate,
        shift=found.shift,
        contributors=_contributors(report, columns),
    )


def _contributors(report: DriftReport, columns: WindowColumns) -> dict[str, tuple[str, ...]]:
    largest = sorted((one for one in report.detections if one.places), key=lambda one: -one.effect)[:_MOST_TELLING]
    return {
        f"{one.family}: {one.name}": tuple(columns.ids[place] for place in one.places[:_MOST_NAMED]) for one in largest
    }


def _subgroup_counts(batch: Batch, subgroups: Sequence[str]) -> tuple[list[SubgroupCount], list[str]]:
    """Each value's number of predictions; of a column with very many values the most frequent, and a sentence."""
    found, notes = [], []
    for column in subgroups:
        counts = batch.column(column).counts()
        kept = list(counts.items())[:_MOST_SUBGROUPS]
        found += [SubgroupCount(column, value, count) for value, count in sorted(kept)]
        if len(counts) > len(kept):
            others = sum(counts.values()) - sum(count for _, count in kept)
            notes.append(
                f"{column} has {len(counts):,} values; the {len(kept)} most frequent are kept, and {others:,} of "
                f"{len(batch):,} predictions have one of the others."
            )
    return found, notes


def _time_notes(columns: WindowColumns, at: datetime) -> list[str]:
    _, _, aside = time_span(columns.times, at)
    if not aside:
        return []
    words = (
        f"{aside} of {len(columns)} predictions carry a time far from all others; they are counted, but the window's "
        "beginning and end do not go by them."
    )
    return [words]


def with_labels(summary: Mapping[str, Any], found: Performance) -> dict[str, Any]:
    """A summary's JSON with its labelled figures replaced."""
    of_subgroup = {(one.column, one.value): one for one in found.subgroups}
    subgroups = []
    for entry in summary["subgroups"]:
        labelled = of_subgroup.get((entry["column"], entry["value"]))
        if labelled is not None:
            accuracy = labelled.accuracy
            figures = {"labelled": labelled.images, "right": labelled.right, "accuracy": accuracy.value}
            entry = {**entry, **figures, "low": accuracy.low, "high": accuracy.high}  # noqa: PLW2901
        subgroups.append(entry)
    classes = [ClassRates(one.label, one.images, one.precision.value, one.recall.value) for one in found.classes]
    return {
        **summary,
        "labelled": found.images,
        "right": found.right,
        "accuracy": dataclasses.asdict(found.accuracy),
        "subgroups": subgroups,
        "classes": [dataclasses.asdict(one) for one in classes],
    }


def newest_summaries(engine: sa.Engine, name: str, version: int, after: int, most: int) -> list[Mapping[str, Any]]:
    """Of at most so many windows of one version beyond the window `after`, the newest first."""
    table = schema.windows
    mine = (table.c.name == name) & (table.c.model_version == version) & (table.c.sequence > after)
    query = sa.select(table.c.summary).where(mine).order_by(table.c.sequence.desc()).limit(most)
    with reading(engine) as connection:
        return list(connection.execute(query).scalars())


def window_spans(
    engine: sa.Engine, name: str, moment: datetime, version: int | None = None, most: int | None = None
) -> list[WindowSpan]:
    """Of the windows that ended at or after `moment`, of one version and the newest so many if given; oldest first."""
    table = schema.windows
    mine = (table.c.name == name) & (table.c.ended_at >= moment)
    if version is not None:
        mine &= table.c.model_version == version
    columns = (table.c.sequence, table.c.model_version, table.c.started_at, table.c.ended_at)
    query = sa.select(*columns).where(mine).order_by(table.c.sequence.desc()).limit(most)
    with reading(engine) as connection:
        return [WindowSpan(*row) for row in connection.execute(query).all()][::-1]
