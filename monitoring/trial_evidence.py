"""What the log says of a version that is being rolled out: beside the champion, and after it became champion."""

from collections.abc import Collection, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from typing import Any

import polars as pl

from models.intervals import wilson
from monitoring.comparison import FEW, GroupComparison, compare_canary, compare_shadow
from monitoring.guards import Guard, guard
from monitoring.log.kin import kin_of
from monitoring.log.trials import answer_rows, shadow_rows
from monitoring.prediction_log import PredictionLog
from monitoring.reference.profile import ReferenceProfile
from monitoring.trial_agreement import Agreement, agreements
from monitoring.trial_guards import (
    guard_of_answers,
    guard_of_confidence,
    guard_of_errors,
    guard_of_failures,
    paired_differences,
)

_ONE_SIDED_95 = 0.90
_MOST_PREDECESSOR = 300
# So old an answer is not missing because it is still on its way to the tables.
_SHIPPED = timedelta(seconds=10)


@dataclass(frozen=True)
class TrialEvidence:
    """
    A shadow or canary beside the champion, since every worker has it.

    Attributes:
        predictions: What it has answered.
        expected: What fell to it and has been in the tables for long enough.
        champion_ms, champion_ms_p95, trial_ms: Milliseconds of a forward pass, the medians and the champion's 95 %.
        few: Fewer than 30 answers of either.
        labelled: Labels that count for its guard.
        agreements: Of a shadow: overall, then each subgroup.
    """

    predictions: int
    expected: float
    champion_ms: float | None
    champion_ms_p95: float | None
    trial_ms: float | None
    few: bool
    labelled: int
    agreements: tuple[Agreement, ...]
    guards: tuple[Guard, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class ProbationEvidence:
    """What came back about a new champion since its promotion; `labels` are those that may measure."""

    labels: int
    guards: tuple[Guard, ...]

    def to_json(self) -> dict[str, Any]:
        return asdict(self)


@dataclass(frozen=True)
class Beside:
    """
    Which two versions are beside each other, and what may be counted.

    Attributes:
        since: Answers from then on.
        share: Of the predictions, that fall to the version on trial, 0..1.
        subgroups: Metadata columns.
        classes: Labels of any other are of no use.
        drawn: Predictions whose labels were drawn by chance; None = every label is, as the settings declare.
        floor: Share of answers that have to be the champion's, 0..1.
        asked: Predictions whose labels were asked for, where not every label is random.
    """

    champion: int
    version: int
    since: datetime
    share: float
    subgroups: Sequence[str]
    classes: Collection[str]
    drawn: Collection[str] | None
    floor: float
    asked: Collection[str] = ()


def shadow_evidence(log: PredictionLog, beside: Beside) -> TrialEvidence:
    """
    Both answers to the same images.

    Whoever labels of his own accord has seen the champion's mistakes and none of the shadow's: only labels that were
    drawn by chance say which of the two is right more often.
    """
    rows = shadow_rows(log, beside.version, beside.since, beside.classes)
    compared = compare_shadow(rows, beside.champion, beside.version, beside.subgroups)
    known = _labelled(rows, beside)
    known = known.filter(pl.col("champion_version") == beside.champion) if known.height else known
    differences, by_labels = [], None
    if known.height:
        by_labels = compare_shadow(known, beside.champion, beside.version, beside.subgroups)
        truth = known["true_label"]
        differences = (
            (known["champion_label"] == truth).cast(pl.Int64) - (known["label"] == truth).cast(pl.Int64)
        ).to_list()
    guards = (guard_of_errors(differences, "as shadow"),)
    expected = _answered(log, beside, beside.share)
    return _evidence(compared.overall, expected, known.height, agreements(compared, by_labels), guards)


def canary_evidence(log: PredictionLog, beside: Beside) -> TrialEvidence:
    """
    Answers of the two to different images, drawn by chance, in one and the same time.

    Labels count that people give of their own accord: they do not know which of the two has answered, so that what is
    noticed and what is not is noticed alike. Those that were asked for are the champion's alone, and mostly its doubts.
    """
    rows = answer_rows(log, (beside.champion, beside.version), beside.since, beside.classes)
    compared = compare_canary(rows, beside.champion, beside.version, beside.subgroups)
    guards: tuple[Guard, ...] = ()
    labelled = 0
    if rows is not None and rows.height:
        ordered = rows.sort("at", "id")
        tried = (ordered["model_version"] == beside.version).to_list()
        volunteered = pl.col("true_label").is_not_null() & ~pl.col("id").is_in(list(beside.asked))
        known = rows.filter(volunteered).sort("label_sequence", "id")
        of_trial = (known["model_version"] == beside.version).to_list()
        wrong = (known["label"] != known["true_label"]).cast(pl.Float64).to_list()
        labelled = sum(of_trial)
        guards = (
            guard_of_errors(paired_differences(of_trial, wrong), "as canary"),
            guard_of_confidence(paired_differences(tried, (1 - ordered["confidence"].cast(pl.Float64)).to_list())),
            guard_of_answers(tried, ordered["label"].to_list(), 1 - beside.floor),
            guard_of_failures(tried, beside.share),
        )
    return _evidence(compared.overall, _answered(log, beside, beside.share), labelled, (), guards)


def probation_evidence(
    log: PredictionLog,
    profile: ReferenceProfile | None,
    beside: Beside,
    *,
    harm_tolerance: float,
    group: str,
) -> ProbationEvidence:
    """
    The new champion's errors since its promotion, held against what was promised and against the champion before.

    beside: `champion` is the one before, `version` the new one, `since` the promotion. An error counts as harm only
    where it is above both: what the version was judged to have, with the tolerance, and what the one before it had of
    late, for otherwise going back would not help.
    """
    own, before = _own_labels(log, beside, group)
    bounds = [] if profile is None else _judged_bound(profile, harm_tolerance)
    if len(before) >= FEW:
        bounds.append(wilson(sum(before), len(before), _ONE_SIDED_95)[1] + harm_tolerance)
    if not bounds:
        return ProbationEvidence(len(own), ())
    words = (
        "since its promotion {mean} of the labelled answers were wrong, surely more than the {tolerated} "
        "to which it was judged, and to which the champion before it came"
    )
    return ProbationEvidence(len(own), (guard("errors after promotion", own, max(bounds), words),))


def _judged_bound(profile: ReferenceProfile, tolerance: float) -> list[float]:
    judged = profile.judged_errors.get("overall")
    return [] if judged is None else [wilson(*judged, _ONE_SIDED_95)[1] + tolerance]


def _own_labels(log: PredictionLog, beside: Beside, group: str) -> tuple[list[float], list[float]]:
    """Errors, near-copies as one, of the new champion since the promotion and of the one before it until then."""
    columns = ("id", "at", "model_version", "label", "image_sha256", "metadata", "true_label", "sequence")
    frame = log.labelled(None, columns)
    frame = frame.filter(pl.col("true_label").is_in(list(beside.classes)))
    if beside.drawn is not None:
        frame = frame.filter(pl.col("id").is_in(list(beside.drawn)))
    mine = frame.filter((pl.col("model_version") == beside.version) & (pl.col("at") >= beside.since))
    theirs = frame.filter((pl.col("model_version") == beside.champion) & (pl.col("at") < beside.since))
    return _errors_of(mine, group), _errors_of(theirs.tail(_MOST_PREDECESSOR), group)


def _errors_of(frame: pl.DataFrame, group: str) -> list[float]:
    wrong = (pl.col("label") != pl.col("true_label")).cast(pl.Float64)
    grouped = (
        frame.with_columns(kin_of(group), wrong=wrong).group_by("kin", maintain_order=True).agg(pl.col("wrong").mean())
    )
    return grouped["wrong"].to_list()


def _labelled(rows: pl.DataFrame | None, beside: Beside) -> pl.DataFrame:
    if rows is None:
        return pl.DataFrame()
    known = rows.filter(pl.col("true_label").is_not_null()).sort("label_sequence", "id")
    return known if beside.drawn is None else known.filter(pl.col("id").is_in(list(beside.drawn)))


def _answered(log: PredictionLog, beside: Beside, share: float) -> float:
    """How many predictions fell to what is on trial, of those whose answers cannot still be on their way."""
    frame = log.predictions.scan()
    if frame is None:
        return 0.0
    wanted = (pl.col("date") >= beside.since.date().isoformat()) & (pl.col("at") >= beside.since) & ~pl.col("repeated")
    own = pl.col("model_version").is_in([beside.champion, beside.version])
    times = frame.filter(wanted & own).select("at").collect()["at"]
    if times.is_empty():
        return 0.0
    newest = times.max()
    assert isinstance(newest, datetime), "a column of times has a time as its maximum"
    return share * int((times < newest - _SHIPPED).sum())


def _evidence(
    overall: GroupComparison,
    expected: float,
    labelled: int,
    alike: tuple[Agreement, ...],
    guards: tuple[Guard, ...],
) -> TrialEvidence:
    return TrialEvidence(
        predictions=overall.trial.predictions,
        expected=expected,
        champion_ms=overall.champion.forward_ms_median,
        champion_ms_p95=overall.champion.forward_ms_p95,
        trial_ms=overall.trial.forward_ms_median,
        few=overall.few,
        labelled=labelled,
        agreements=alike,
        guards=guards,
    )
