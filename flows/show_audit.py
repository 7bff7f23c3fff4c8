"""An audit as a person reads it on a terminal."""

from collections import Counter

from rich.console import Console
from rich.text import Text

from flows.audit import Audit
from flows.show import table
from monitoring.bias import ALIKE, DIFFERS, HIDDEN, JUDGED_FROM, UNDECIDED, GroupBias
from monitoring.performance import Interval
from monitoring.subgroups.columns import SHOWN_FROM
from monitoring.subgroups.page import worst_first
from monitoring.subgroups.rates import ACCURACY, CALIBRATION, RECALL

_STYLES = {DIFFERS: "bold red", UNDECIDED: "yellow", HIDDEN: "dim"}
_CROSSED = ((ALIKE, "without a difference"), (UNDECIDED, "undecided"))
_MOST_SAID = 5


def show_audit(console: Console, audit: Audit) -> None:
    """What differs and how sure that is, what is undecided, weak slices, and on which labels all of it rests."""
    report = audit.report
    shown = table(
        "group", "#images", "#accuracy %", "#recall %", "#difference", "#overconfidence", "verdict", title=report.title
    )
    for group in (report.overall, *filter(_in_table, report.groups)):
        verdict = Text(group.verdict, _STYLES.get(group.verdict, "green")) if group.value else Text("")
        shown.add_row(Text(group.short), str(group.images), *_cells(group), verdict)
    console.print(shown)
    console.print(
        "  Recall: mean over the classes. Difference: accuracy minus the rest's, in points. Overconfidence: mean "
        "confidence minus accuracy, in points. In brackets: 95 % intervals. A group is judged from "
        f"{JUDGED_FROM} labelled images; below it is undecided, which is no pass. Verdicts are corrected for all "
        f"{report.tests} differences that were judged.",
        style="dim",
        highlight=False,
    )
    _say(console, _left_out(report.groups), "dim")
    for group in worst_first(report.groups):
        accuracy = group.rate(ACCURACY)
        worse = accuracy is not None and (accuracy.difference.value or 0.0) < 0
        _say(console, f"{group.short}: {group.why}", "red" if worse else "")
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


def _in_table(group: GroupBias) -> bool:
    """Of many intersections only those that differ; a group too small to show has nothing to be shown."""
    return group.verdict == DIFFERS or (group.verdict != HIDDEN and not group.is_intersection)


def _left_out(groups: tuple[GroupBias, ...]) -> str:
    """What the table does not list, counted; "" where it lists all."""
    counts = Counter(group.verdict for group in groups if not _in_table(group))
    crossed = [f"{counts[verdict]} {words}" for verdict, words in _CROSSED if counts[verdict]]
    parts = [f"intersections of two columns: {', '.join(crossed)}"] if crossed else []
    if counts[HIDDEN]:
        groups_are = "group" if counts[HIDDEN] == 1 else "groups"
        parts.append(f"{counts[HIDDEN]} {groups_are} with fewer than {SHOWN_FROM} labelled images")
    return f"Not listed here, but on the page: {'; '.join(parts)}." if parts else ""


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
        _say(console, f"{group.short} is undecided: {group.why}{more}", "yellow")
    if len(groups) > _MOST_SAID:
        _say(console, f"{len(groups) - _MOST_SAID} more groups are undecided; the page lists what each needs", "yellow")


def _four_fifths(console: Console, groups: tuple[GroupBias, ...]) -> None:
    said = [(group, one) for group in groups for one in group.below_four_fifths]
    for group, one in said[:_MOST_SAID]:
        between = "" if one.ratio.low is None else f" ({one.ratio.low:.2f}–{one.ratio.high:.2f})"
        words = f"{group.short}: {one.name} is {one.ratio.value:.2f}{between} of the rest's, below four fifths"
        _say(console, words, "dim")
    if len(said) > _MOST_SAID:
        _say(console, f"{len(said) - _MOST_SAID} more rates are below four fifths; the page lists them", "dim")


def _say(console: Console, words: str, style: str = "") -> None:
    if words:
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
