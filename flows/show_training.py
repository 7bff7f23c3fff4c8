"""What came of a training, as a person reads it on a terminal: how good it is, where it is weak, what comes next."""

from pathlib import Path

from rich.console import Console
from rich.text import Text

from flows.label_errors import LabelErrors
from flows.orders import CANDIDATE, Outcome
from flows.show import table
from infra.settings import FILE_NAME, Settings
from models.gate_needs import in_words, needs_of
from models.gate_records import GateDecision
from models.scorecard import Scorecard

_RESULT_STYLE = {"passed": "green", "failed": "bold red", "undecided": "yellow", "noted": "yellow"}
_MOST_SUSPECTS = 20


def show_training(console: Console, outcome: Outcome, settings: Settings) -> None:
    """The new version, its scores, what the gate said, where the report is, and the next step."""
    if outcome.state != CANDIDATE:
        console.print(f"\n{outcome.words}", style="bold", highlight=False, markup=False)
        return
    fresh = f" ({outcome.fresh_images} newly labelled)" if outcome.fresh_images else ""
    console.print(
        f"\n{outcome.version.title}: {outcome.train_images} images{fresh} trained it in {outcome.seconds:.0f} s.",
        style="bold",
        highlight=False,
    )
    if outcome.version.scorecard:
        for words in scores_in_words(Scorecard.from_json(outcome.version.scorecard)):
            console.print(f"  {words}", highlight=False, markup=False)
    show_decision(console, outcome.decision)
    if outcome.report_page is not None:
        console.print(f"Report: {outcome.report_page}", highlight=False, soft_wrap=True, markup=False)
    words, style = next_step(outcome)
    console.print(words, style=style, highlight=False)
    if not (settings.root / FILE_NAME).exists():
        console.print(_how_to_keep(settings.data.manifest), style="dim", highlight=False, markup=False)


def scores_in_words(card: Scorecard) -> list[str]:
    """Accuracy with its interval, and the class that is recognised worst."""
    low, high = card.accuracy_interval or card.interval
    words = f"accuracy {100 * card.accuracy:.1f} % ({100 * low:.1f}–{100 * high:.1f}) on {card.images} images "
    words += f"that trained nothing; macro precision {card.macro_precision:.3f}, macro recall {card.macro_recall:.3f}"
    lines = [words]
    known = [each for each in card.per_class if each.recall is not None]
    weakest = min(known, key=lambda each: (each.recall, each.precision), default=None)
    if weakest is not None and weakest.recall is not None and weakest.recall < 1:
        found = round(weakest.recall * weakest.images)
        lines.append(f"weakest class: {weakest.label}, recognised in {found} of {weakest.images} images")
    return lines


def next_step(outcome: Outcome) -> tuple[str, str]:
    """What a person does now, and the style it is written in."""
    number = outcome.version.version
    if outcome.promoted:
        return f"Version {number} is champion. `kedge up` serves it.", "bold green"
    if outcome.refused:
        return f"Version {number} was refused and is kept; `kedge promote {number}` overrules.", "bold red"
    if outcome.waits:
        needs = in_words(needs_of(outcome.decision))
        return (
            f"Version {number} is undecided: it waits for {needs}. It answers unseen meanwhile, and is judged "
            "once more when they have come; `kedge labels next` lists what to label, `kedge rollout` how it stands."
        ), "bold yellow"
    if outcome.rollout_words:
        words = (
            f"Version {number} is on its way to the callers: {outcome.rollout_words}. `kedge rollout` shows how far; "
            f"it goes on while `kedge up` runs. `kedge rollout start {number} --from promoting` skips the trial."
        )
        return words, "bold"
    return f"Version {number} is registered; `kedge rollout start {number}` sends it to the callers.", "bold"


def show_decision(console: Console, decision: GateDecision) -> None:
    """The gate's sentences, and below them what it compared."""
    for index, words in enumerate(decision.words()):
        console.print(f"  {words}", style="bold" if index == 0 else "", highlight=False)
    judged = [check for check in decision.checks if check.status == "judged" or check.result == "failed"]
    if not judged:
        return
    shown = table("check", "on", "group", "#images", "#loss or value", "#bound", "#allowed", "result")
    for check in judged:
        numbers = (f"{check.loss:+.3f}", f"{check.bound:+.3f}", f"{check.margin:.3f}")
        result = Text(check.result, _RESULT_STYLE.get(check.result, ""))
        shown.add_row(check.name, check.scope, check.group, str(check.images), *numbers, result)
    console.print(shown)


def show_label_errors(console: Console, found: LabelErrors, folder: Path) -> None:
    """The worst suspects, and the files with all of them."""
    if not found.suspects:
        console.print(f"{found.examined} labels examined; none is contradicted by the other images.", highlight=False)
    else:
        title = f"{len(found.suspects)} of {found.examined} labels look wrong to {found.model}"
        shown = table("image", "label", "looks like", "#probability of the label", "role", title=title)
        for suspect in found.suspects[:_MOST_SUSPECTS]:
            shown.add_row(Text(suspect.image), suspect.label, suspect.suggested, f"{suspect.quality:.3f}", suspect.role)
        console.print(shown)
        console.print(f"As pictures: {folder / 'suspects.html'}", highlight=False, soft_wrap=True, markup=False)
        words = f"As a list: {folder / 'suspects.csv'}; delete the rows whose label is right, and data.exclude may "
        console.print(words + "name the file. Nothing was left out by itself.", highlight=False, soft_wrap=True)
    if found.untold:
        words = f"  {found.untold} images cannot be told about: all of their class lie in one group."
        console.print(words, style="yellow", highlight=False)


def _how_to_keep(manifest: Path) -> str:
    return (
        f"There is no {FILE_NAME} here. For retrains to find these images, run `kedge init` and set in it: "
        f'data.manifest = "{manifest}".'
    )
