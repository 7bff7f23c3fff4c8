"""How right the champion's answers are, as far as anything can tell: labels, confidences, and both together."""

from collections.abc import Sequence
from datetime import datetime, timedelta

import numpy as np
import polars as pl

from infra.clock import now
from monitoring.estimates.asked_labels import with_asked_labels
from monitoring.estimates.estimate import Estimate, estimate
from monitoring.evidence_records import GROSS
from monitoring.labelling.rows import requests
from monitoring.log.columns import batch_in
from monitoring.performance import class_performances, share
from monitoring.quality.facts import adwin_cuts, window_maturities
from monitoring.quality.label_arrivals import label_arrivals
from monitoring.quality.maturity import maturity_curve
from monitoring.quality.over_time import LABELLED, PREDICTED, by_day
from monitoring.quality.records import PerformanceReport, SubgroupCorrected, WithLabels
from monitoring.quality.reliability import Reliability, reliability
from monitoring.quality.timed import TimedAnswers, timed_answers
from monitoring.reference.profile import ReferenceProfile, load_profile
from monitoring.watching.batch import Batch
from monitoring.watching.place import WatchPlace
from monitoring.watching.state import load_state

USUAL_DAYS = 30
_MOST_ESTIMATED = 2_000


def performance_report(place: WatchPlace, since: datetime | None = None) -> PerformanceReport | None:
    """
    Everything that is known about the champion's answers; None where there is no champion.

    since: only predictions from then on; by default of the last thirty days.
    """
    champion = place.registry.champion()
    if champion is None:
        return None
    present = now()
    start = since or present - timedelta(days=USUAL_DAYS)
    profile = load_profile(place.engine, place.objects, place.name, champion.version)
    asked = [one for one in requests(place.engine, place.name) if one.model_version == champion.version]
    frame = place.log.labelled(since=start.date())
    frame = frame.filter((pl.col("at") >= start) & (pl.col("model_version") == champion.version))
    answers = timed_answers(frame)
    arrivals = label_arrivals(place.log, start, champion.version)
    curve = maturity_curve(arrivals.predicted_at, arrivals.labelled_at, present)
    classes = () if profile is None else profile.classes
    guessed, settled = None, None
    groups: tuple[SubgroupCorrected, ...] = ()
    notes = []
    if profile is None:
        notes.append(
            f"there is no reference profile of {champion.title}, so nothing says what its confidences are worth; "
            "`kedge retrain` makes one"
        )
    else:
        guessed = _without_labels(place, profile, start)
        settled, groups = with_asked_labels(place, profile, asked, start)
    return PerformanceReport(
        name=place.name,
        version=champion.version,
        since=start,
        present=present,
        with_labels=_with_labels(answers, classes, random=place.settings.monitor.feedback_is_random),
        delay=curve,
        windows=window_maturities(place, champion.version, start, arrivals, present),
        without_labels=guessed,
        with_asked_labels=settled,
        subgroups=groups,
        adwin=adwin_cuts(answers, asked, random=place.settings.monitor.feedback_is_random),
        notes=tuple(notes),
    )


def _with_labels(answers: TimedAnswers, classes: Sequence[str], *, random: bool) -> WithLabels:
    right, size = int(answers.right.sum()), len(answers.classes)
    counted = [np.bincount(codes, minlength=size) for codes in
               (answers.truth, answers.answered, answers.truth[answers.right])]  # fmt: skip
    calibrated = reliability(answers.confidence, answers.right)
    return WithLabels(
        images=len(answers),
        right=right,
        accuracy=share(right, len(answers)),
        random=random,
        classes=class_performances(answers.classes, *counted),
        calibration=calibrated,
        by_prediction=by_day(answers, PREDICTED),
        by_labelling=by_day(answers, LABELLED),
        notes=tuple(_notes(answers, classes, calibrated, random=random)),
    )


def _notes(answers: TimedAnswers, classes: Sequence[str], calibrated: Reliability, *, random: bool) -> list[str]:
    if not len(answers):
        return ["no prediction of this time has a label yet"]
    notes = []
    if not random:
        notes.append(
            "labels came as people chose to send them, so these figures are of the labelled answers, not of the traffic"
        )
    shown = np.unique(answers.truth)
    if len(shown) == 1:
        notes.append(f'every label says "{answers.classes[shown[0]]}", so nothing is known about the other classes')
    unknown = answers.unknown(classes) if classes else ()
    if unknown:
        named = ", ".join(f'"{label}"' for label in unknown[:5])
        more = f" and {len(unknown) - 5} more" if len(unknown) > 5 else ""  # noqa: PLR2004 - as many as are named
        notes.append(f"labels name classes that the model does not have ({named}{more}); they count as errors")
    if calibrated.left_out:
        notes.append(f"{calibrated.left_out} labelled answers have no usable confidence; calibration is without them")
    return notes


def _without_labels(place: WatchPlace, profile: ReferenceProfile, since: datetime) -> Estimate | None:
    settings = place.settings
    batch = _newest(place, profile, since)
    if batch is None:
        return None
    state = load_state(place.engine, place.name)
    alarmed = any(one.partition("/")[0] == GROSS for one in state.alarmed)
    return estimate(
        profile, batch, gross_quiet=not alarmed, subgroups=settings.data.subgroups, group=settings.data.group
    )


def _newest(place: WatchPlace, profile: ReferenceProfile, since: datetime) -> Batch | None:
    """The newest 2,000 predictions, or a window of them where that is more."""
    frame = place.log.predictions.scan()
    if frame is None:
        return None
    mine = frame.filter(
        (pl.col("date") >= since.date().isoformat())
        & (pl.col("at") >= since)
        & (pl.col("model_version") == profile.version)
        & ~pl.col("repeated")
    )
    # The times alone say which rows are wanted; only those are then read in full.
    most = max(_MOST_ESTIMATED, place.settings.monitor.window)
    oldest = mine.select("at").sort("at", descending=True).head(most).min().collect().item()
    if oldest is None:
        return None
    rows = mine.filter((pl.col("date") >= oldest.date().isoformat()) & (pl.col("at") >= oldest)).collect()
    return batch_in(rows.unique("id", keep="first"), len(profile.classes), profile.embedding_size)
