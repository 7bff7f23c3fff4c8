"""A version on trial as a person reads it on a terminal: who it is, and how it does beside the champion."""

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from flows.show import ago, table
from flows.trials import Compared, Trial
from models.registry import title_of
from models.rollouts import SHADOW, Rollout
from monitoring.comparison import FEW, Comparison, GroupComparison, Side
from monitoring.performance import Interval

_MOST_CLASSES = 12
_LEGEND = (
    "sure: mean confidence. ms: one forward pass, the median (and what 95 % of them stay under). "
    "right: of those that people labelled. Other brackets are 95 % intervals."
)


def words_of(rollout: Rollout, name: str) -> str:
    """One trial in a sentence without its end."""
    title, share = title_of(name, rollout.version), f"{100 * rollout.share:g} %"
    if rollout.alias == SHADOW:
        return f"{title} is the shadow: it answers {share} of the images too, and nobody is told"
    return f"{title} is the canary: it answers {share} of the predictions instead of the champion"


def show_started(console: Console, trial: Trial, name: str) -> None:
    """What is on trial now, and what to do next."""
    alias = trial.rollout.alias
    console.print(f"{words_of(trial.rollout, name)}; {_confirmed(trial, 'have it')}.", highlight=False)
    console.print(f"`kedge compare` shows how it does; `kedge {alias} --stop` ends it.", style="dim", highlight=False)


def show_ended(console: Console, trial: Trial, name: str) -> None:
    """That the champion answers alone again."""
    title = title_of(name, trial.rollout.version)
    words = f"The {trial.rollout.alias} {title} is ended; {_confirmed(trial, 'have let it go')}."
    console.print(words, highlight=False)


def show_compared(console: Console, compared: Compared, name: str) -> None:
    """Both versions side by side: overall, in each subgroup, and what they answered."""
    rollout, comparison = compared.rollout, compared.comparison
    champion = title_of(name, comparison.champion_version)
    console.print(f"{words_of(rollout, name)}.", style="bold", highlight=False)
    words = f"Compared with the champion {champion} since the trial began, {ago(rollout.since)}."
    console.print(words, highlight=False)
    if not comparison.overall.champion.predictions + comparison.overall.trial.predictions:
        console.print("Nothing has reached the tables since then; answers take up to serve.seal_s seconds.\n")
        return
    console.print(_sides(comparison))
    for line in _lines(comparison):
        console.print(line, highlight=False)
    console.print(_classes(comparison))


def _confirmed(trial: Trial, what: str) -> str:
    if not trial.workers:
        return "nobody is serving yet"
    return f"{trial.workers} serving worker(s) {what} after {trial.seconds:.1f} s"


def _sides(comparison: Comparison) -> Table:
    paired = comparison.alias == SHADOW
    shown = table("", "#images", *(["#alike %"] if paired else []), "#sure %", "#ms", "#right %")
    for column in shown.columns[1:]:
        column.no_wrap = True
    for group in (comparison.overall, *comparison.groups):
        alike = (_interval(group.agreement),) if paired else ()
        shown.add_row(_group(group), "", *alike)
        for side, who in ((group.champion, "champion"), (group.trial, comparison.alias)):
            cells = [f"  {who} {side.version}", str(side.predictions), *([""] if paired else [])]
            shown.add_row(*cells, _sure(side), _milliseconds(side), _right(side), style="dim" if group.few else "")
    return shown


def _lines(comparison: Comparison) -> Iterator[Text]:
    pairs, alias = comparison.overall.pairs, comparison.alias
    if pairs is not None and comparison.overall.champion.labelled:
        yield Text(
            f"Of the labelled images both were right on {pairs.both}, only the champion on {pairs.only_champion}, "
            f"only the {alias} on {pairs.only_trial}, neither on {pairs.neither}."
        )
    if comparison.overall.disagreements:
        parts = [
            f"{one.champion_label} → {one.trial_label}: {one.predictions}" for one in comparison.overall.disagreements
        ]
        yield Text(f"Where they part (champion → {alias}): {' · '.join(parts)}")
    if comparison.left_out:
        words = f"{comparison.left_out} images that another version than this champion answered are left out."
        yield Text(words, "dim")
    if any(group.few for group in (comparison.overall, *comparison.groups)):
        yield Text(f"few: fewer than {FEW} images on a side; shown, but nothing to lean on.", "dim")
    yield Text(_LEGEND, "dim")


def _classes(comparison: Comparison) -> Table:
    """The predicted mix: a version that answers one class more often than the other stands out."""
    sides = comparison.overall.champion, comparison.overall.trial
    counts = [{one.label: one.predictions for one in side.classes} for side in sides]
    ordered = sorted({*counts[0], *counts[1]}, key=lambda label: (-sum(one.get(label, 0) for one in counts), label))
    shown = table("answer", f"#champion {sides[0].version}, %", f"#{comparison.alias} {sides[1].version}, %")
    for label in ordered[:_MOST_CLASSES]:
        shown.add_row(Text(label), *(_percent(count.get(label, 0), sum(count.values())) for count in counts))
    if len(ordered) > _MOST_CLASSES:
        shown.caption = f"and {len(ordered) - _MOST_CLASSES} rarer answers; --json has them all"
    return shown


def _group(group: GroupComparison) -> Text:
    words = Text(group.title, "bold")
    if group.few:
        words.append(" (few)", "yellow")
    return words


def _sure(side: Side) -> str:
    return "–" if side.mean_confidence is None else f"{100 * side.mean_confidence:.1f}"


def _milliseconds(side: Side) -> str:
    if side.forward_ms_median is None or side.forward_ms_p95 is None:
        return "–"
    return f"{side.forward_ms_median:.1f} ({side.forward_ms_p95:.1f})"


def _right(side: Side) -> str:
    return f"{_interval(side.accuracy)} of {side.labelled}" if side.labelled else "no label"


def _interval(part: Interval | None) -> str:
    if part is None or part.value is None or part.low is None or part.high is None:
        return "–"
    return f"{100 * part.value:.1f} ({100 * part.low:.0f}–{100 * part.high:.0f})"


def _percent(count: int, of: int) -> str:
    return f"{100 * count / of:.1f}" if of else "–"
