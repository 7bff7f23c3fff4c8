"""A champion's performance as a person reads it on a terminal: what is known, what is guessed, and from what."""

from collections.abc import Iterator, Sequence
from datetime import timedelta

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.show import ago, table
from models.registry import title_of
from monitoring.estimates.corrected import CORRECTED, NONE, Corrected
from monitoring.estimates.estimate import Estimate
from monitoring.performance import Interval
from monitoring.quality.over_time import Period
from monitoring.quality.records import PerformanceReport, WithLabels

_MOST_CLASSES, _MOST_DAYS = 12, 10


def show_performance(console: Console, report: PerformanceReport) -> None:
    """Four parts: with labels, how complete those are, without labels, and with the labels that were asked for."""
    title = title_of(report.name, report.version)
    console.print(f"{title}, predictions since {report.since:%Y-%m-%d %H:%M} UTC", style="bold", highlight=False)
    _part(console, "With labels", _with_labels(report.with_labels))
    if report.with_labels.classes:
        console.print(_classes(report.with_labels))
        for heading, periods in (
            ("by day of prediction", report.with_labels.by_prediction),
            ("by day of labelling", report.with_labels.by_labelling),
        ):
            console.print(_days(heading, periods))
    _part(console, "How complete the labels are", _maturity(report))
    _part(console, "Without labels", _without(report))
    if report.without_labels is not None and report.without_labels.subgroups:
        console.print(_subgroups_without(report.without_labels))
    _part(console, "With the labels that were asked for", _asked(report))
    if any(one.corrected.labels for one in report.subgroups):
        console.print(_subgroups_asked(report))
    _part(console, "ADWIN, a second opinion that decides nothing", _adwin(report))


def _part(console: Console, title: str, lines: Iterator[str]) -> None:
    console.print(Text(f"\n{title}", "bold"))
    for line in lines:
        console.print(Text(f"  {line}"), soft_wrap=True)


def _with_labels(found: WithLabels) -> Iterator[str]:
    if found.images:
        yield f"{_percent(found.accuracy)} right, of {found.images} labelled answers."
        calibration = found.calibration
        if calibration.answers and calibration.honest is not None:
            yield (
                f"Calibration error {_points(calibration.error)} points; as many answers of perfectly honest "
                f"confidence would show {100 * calibration.honest:.1f}."
            )
    yield from _sentences(found.notes)


def _classes(found: WithLabels) -> Table:
    shown = table("class", "#images", "#recall %", "#answered", "#precision %")
    worst = sorted(found.classes, key=lambda one: (1.0 if one.recall.value is None else one.recall.value, one.label))
    for one in worst[:_MOST_CLASSES]:
        cells = (str(one.images), _interval(one.recall), str(one.answered), _interval(one.precision))
        shown.add_row(Text(one.label), *cells)
    if len(worst) > _MOST_CLASSES:
        shown.caption = f"the {_MOST_CLASSES} of least recall, of {len(worst)}; --json has them all"
    return shown


def _days(heading: str, periods: Sequence[Period]) -> Table:
    shown = table(heading, "#labels", "#right %", "#mean confidence %")
    for one in periods[-_MOST_DAYS:]:
        sure = "–" if one.mean_confidence is None else f"{100 * one.mean_confidence:.1f}"
        shown.add_row(f"{one.started_at:%Y-%m-%d}", str(one.images), _interval(one.accuracy), sure)
    if len(periods) > _MOST_DAYS:
        shown.caption = f"the newest {_MOST_DAYS} of {len(periods)} days; --json has them all"
    return shown


def _maturity(report: PerformanceReport) -> Iterator[str]:
    delay = report.delay
    if not delay.trusted:
        yield f"Not enough evidence: {delay.labels} labels so far; 30 show how long they take."
        return
    half = delay.median_delay_s or 0.0
    yield (
        f"About {100 * delay.final_share:.1f} % of predictions get a label within {_span(delay.horizon_s)}, "
        f"half of those within {_span(half)}."
    )
    if delay.early:
        yield f"{delay.early} labels are dated before their prediction: clocks differ."
    for one in report.windows:
        yield f"Window {one.sequence}, which ended {ago(one.ended_at)}: {one.maturity.words}."


def _without(report: PerformanceReport) -> Iterator[str]:
    found = report.without_labels
    if found is None:
        yield from _sentences(report.notes or ("there is nothing to estimate from yet",))
        return
    if found.accuracy.value is not None:
        yield f"Probably {_percent(found.accuracy)} right, over the newest {found.used} predictions."
        yield f"That is {_loss(found.loss)} than on the {found.reference_images} held-out images of its training."
    if found.valid:
        yield "The estimate may count as evidence."
    else:
        yield f"Not to be leant on: {'; '.join(found.reasons)}."
    yield found.caveat
    methods = found.methods
    if methods is not None:
        each = {
            "ATC-NE": methods.atc_entropy,
            "calibrated confidence": methods.confidence_based,
            "DoC": methods.difference_of_confidences,
            "mean confidence": methods.average_confidence,
        }
        yield "By method: " + " · ".join(f"{name} {100 * value:.1f}" for name, value in each.items())


def _subgroups_without(found: Estimate) -> Table:
    shown = table("subgroup", "#predictions", "#probably right %", "#change in points", "")
    for one in found.subgroups:
        lost = "–" if one.loss.value is None else f"{0.0 - round(100 * one.loss.value, 1):+.1f}"
        words = Text("; ".join(one.reasons), "dim")
        shown.add_row(Text(f"{one.column} {one.value}"), str(one.predictions), _interval(one.accuracy), lost, words)
    return shown


def _asked(report: PerformanceReport) -> Iterator[str]:
    found = report.with_asked_labels
    if found is None:
        yield from _sentences(
            report.notes or ("no image of the reference has a truth that says what confidence is worth",)
        )
        return
    if found.rests_on != NONE:
        yield f"{_percent(found.accuracy)} right, of all {found.predictions} predictions, {_basis(found)}."
        yield "This sees concept drift, too, for it rests on labels."
    for one in found.responses:
        share = f"{one.answered} of {one.settled} ({100 * one.rate:.0f} %)"
        yield f"Requests of the kind {one.stratum} that were answered, of those not waited for: {share}."
    if found.worst_case is not None:
        low, high = found.worst_case.low or 0.0, found.worst_case.high or 0.0
        yield f"Whatever the missing labels would have been: {100 * low:.1f} to {100 * high:.1f} %."
    yield from _sentences(found.notes)


def _basis(found: Corrected) -> str:
    if found.rests_on == CORRECTED:
        confidences = "" if not found.weight else f" and every confidence at a weight of {found.weight:.2f}"
        return f"from {found.labels} labels{confidences}"
    return f"from the {found.uniform_labels} labels drawn by chance alone"


def _subgroups_asked(report: PerformanceReport) -> Table:
    shown = table("subgroup", "#predictions", "#labels", "#right %", "")
    said = () if report.with_asked_labels is None else report.with_asked_labels.notes
    for one in report.subgroups:
        part = one.corrected
        words = Text("; ".join(note for note in part.notes if note not in said), "dim")
        name = Text(f"{one.column} {one.value}")
        shown.add_row(name, str(part.predictions), str(part.labels), _interval(part.accuracy), words)
    return shown


def _adwin(report: PerformanceReport) -> Iterator[str]:
    if report.adwin is None:
        yield "No label was drawn by chance, so none may say when errors changed."
    elif not report.adwin:
        yield "It would not have cut anywhere."
    for one in report.adwin or ():
        yield (
            f"Labels from {one.began_at:%Y-%m-%d %H:%M} on are others than those before: errors "
            f"{100 * one.error_before:.1f} % before, {100 * one.error_after:.1f} % after "
            f"(noticed {one.noticed_at:%Y-%m-%d %H:%M})."
        )


def _sentences(notes: Sequence[str]) -> Iterator[str]:
    for note in notes:
        yield f"{note[:1].upper()}{note[1:]}."


def _interval(found: Interval) -> str:
    if found.value is None or found.low is None or found.high is None:
        return "–"
    return f"{100 * found.value:.1f} ({100 * found.low:.0f}–{100 * found.high:.0f})"


def _percent(found: Interval) -> str:
    """Within a sentence, as "91.5 % (90 to 93)"."""
    if found.value is None or found.low is None or found.high is None:
        return "–"
    return f"{100 * found.value:.1f} % ({100 * found.low:.0f} to {100 * found.high:.0f})"


def _points(found: Interval) -> str:
    return f"{100 * (found.value or 0):.1f} ({100 * (found.low or 0):.1f}–{100 * (found.high or 0):.1f})"


def _loss(found: Interval) -> str:
    value = 100 * (found.value or 0.0)
    low, high = 100 * (found.low or 0.0), 100 * (found.high or 0.0)
    if value >= 0:
        return f"{value:.1f} points less ({low:+.1f} to {high:+.1f})"
    return f"{-value:.1f} points more ({-high:+.1f} to {-low:+.1f})"


def _span(seconds: float) -> str:
    for unit, size in (("days", 86400), ("hours", 3600), ("minutes", 60)):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return str(timedelta(seconds=round(seconds))) if seconds >= 60 else f"{seconds:.0f} seconds"  # noqa: PLR2004 - a minute
