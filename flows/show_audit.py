"""An audit as a person reads it on a terminal."""

from rich.console import Console
from rich.text import Text

from flows.audit import Audit
from flows.show import table
from monitoring.bias import DIFFERS, HIDDEN, JUDGED_FROM, UNDECIDED, GroupBias
from monitoring.performance import Interval
from monitoring.subgroup_rates import ACCURACY, CALIBRATION, RECALL

_STYLES = {DIFFERS: "bold red", UNDECIDED: "yellow", HIDDEN: "dim"}
_MOST_SAID = 5


def show_audit(console: Console, audit: Audit) -> None:
    """What differs and how sure that is, what is undecided, weak slices, and on which labels all of it rests."""
    report = audit.report
    shown = table(
        "group", "#images", "#accuracy %", "#recall %", "#difference", "#confidence", "verdict", title=report.title
    )
    for group in (report.overall, *report.groups):
        verdict = Text(group.verdict, _STYLES.get(group.verdict, "green")) if group.value else Text("")
        shown.add_row(Text(group.name), str(group.images), *_cells(group), verdict)
    console.print(shown)
    console.print(
        "  Recall: mean over the classes. Difference: accuracy minus the rest's, in points. Confidence: mean minus "
        f"accuracy, in points. In brackets: 95 % intervals. A group is judged from {JUDGED_FROM} labelled images; "
        f"below it is undecided, which is no pass. Verdicts are corrected for all "
        f"{report.tests} differences that were judged.",
        style="dim",
        highlight=False,
    )
    for group in report.groups:
        if group.verdict == DIFFERS:
            _say(console, f"{group.name}: {group.why}", "red")
    _undecided(console, [group for group in report.groups if group.verdict == UNDECIDED])
    _four_fifths(console, report.groups)
    _say(console, f"Weak slices: {audit.slices.words}.")
    for one in audit.slices.found:
        error = f"{100 * (one.error.value or 0):.0f} % wrong ({_range(one.error)})"
        words = f"  {one.words}: {error}, elsewhere {100 * one.elsewhere:.0f} %; {one.images} images"
        _say(console, words, "yellow")
        _say(console, f"    for example {', '.join(example.id for example in one.examples[:3])}", "dim")
    _say(console, audit.basis.words())
    if audit.basis.warning:
        _say(console, audit.basis.warning, "bold yellow")
    for note in report.notes:
        _say(console, note)
    console.print(
        f"With pictures, precision and classes: {audit.path or audit.place}",
        highlight=False,
        soft_wrap=True,
        markup=False,
    )


def _cells(group: GroupBias) -> list[str]:
    accuracy, recall, calibration = (group.rate(metric) for metric in (ACCURACY, RECALL, CALIBRATION))
    return [
        _percent(accuracy.value if accuracy else None),
        _percent(recall.value if recall else None),
        _points(accuracy.difference if accuracy else None),
        _points(calibration.value if calibration else None),
    ]


def _undecided(console: Console, groups: list[GroupBias]) -> None:
    for group in groups[:_MOST_SAID]:
        more = f"; {group.more_labels} more labels would do" if group.more_labels else ""
        _say(console, f"{group.name} is undecided: {group.why}{more}", "yellow")
    if len(groups) > _MOST_SAID:
        _say(console, f"{len(groups) - _MOST_SAID} more groups are undecided; the page lists what each needs", "yellow")


def _four_fifths(console: Console, groups: tuple[GroupBias, ...]) -> None:
    said = [(group, one) for group in groups for one in group.below_four_fifths]
    for group, one in said[:_MOST_SAID]:
        between = "" if one.ratio.low is None else f" ({one.ratio.low:.2f}–{one.ratio.high:.2f})"
        words = f"{group.name}: {one.name} is {one.ratio.value:.2f}{between} of the rest's, below four fifths"
        _say(console, words, "dim")
    if len(said) > _MOST_SAID:
        _say(console, f"{len(said) - _MOST_SAID} more rates are below four fifths; the page lists them", "dim")


def _say(console: Console, words: str, style: str = "") -> None:
    console.print(f"  {words}", style=style, highlight=False, markup=False)


def _percent(part: Interval | None) -> str:
    if part is None or part.value is None:
        return "–"
    return f"{100 * part.value:.1f} ({_range(part)})"


def _range(part: Interval) -> str:
    return f"{100 * (part.low or 0):.0f}–{100 * (part.high or 0):.0f}"


def _points(part: Interval | None) -> str:
    if part is None or part.value is None or part.low is None or part.high is None:
        return "–"
    return f"{100 * part.value:+.1f} ({100 * part.low:+.0f} to {100 * part.high:+.0f})"
