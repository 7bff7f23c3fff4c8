"""An explanation as a person reads it on a terminal: one story, its proofs in the margin."""

from rich.console import Console
from rich.padding import Padding
from rich.text import Text

from flows.history.explained import Answer, Explanation, Gone, LabelSaid, Training, VersionExplained
from flows.history.show_history import moment
from monitoring.decisions.records import Proof, Step, Story

_STYLES = {"good": "green", "warn": "yellow", "bad": "bold red", "active": "cyan"}
_SHOWN_DIGITS = 12


def show_explained(console: Console, one: Explanation) -> None:
    """The answer, the version, its training, and every decision about it."""
    if one.gone is not None:
        _show_gone(console, one.gone)
    if one.answer is not None:
        _show_answer(console, one.answer, one.label)
    if one.version is not None:
        _show_version(console, one.version)
    _show_missing(console, (*one.missing, *(one.version.missing if one.version else ())))


def _show_answer(console: Console, answer: Answer, label: LabelSaid | None) -> None:
    _heading(console, f"Prediction {answer.id}")
    _line(console, f"{moment(answer.at)} UTC: {answer.model} answered '{answer.label}' with {answer.confidence:.1%}.")
    _line(console, f"{_upper(answer.role_words)}.")
    if answer.repeated:
        _line(console, "The id had been answered before.")
    if label is None:
        _line(console, "Nobody has said what the answer should have been.")
        return
    right = "as answered" if label.right else "another one"
    by = f" by {label.labelled_by}" if label.labelled_by else ""
    _line(console, f"Labelled '{label.label}'{by} at {moment(label.at)}: {right}.")


def _show_gone(console: Console, gone: Gone) -> None:
    _heading(console, f"Forgotten: {gone.pseudonym}")
    _line(console, f"Asked by {gone.asked_by} at {moment(gone.asked_at)} UTC.", gone.proofs)
    if gone.finished_at is None:
        _line(console, "It is not finished yet: `kedge forget` or `kedge tidy` goes on with it.")
        return
    rows = ", ".join(f"{count} of {name}" for name, count in gone.outcome.get("rows", {}).items()) or "none"
    pictures = gone.outcome.get("images", 0)
    _line(console, f"Finished at {moment(gone.finished_at)}: rows {rows}; {pictures} pictures.")
    _line(console, "Its id and the key of its pseudonym are destroyed.")


def _show_version(console: Console, version: VersionExplained) -> None:
    _heading(console, f"{version.title}, {version.state}")
    start = "from no earlier version" if version.parent_version is None else f"from version {version.parent_version}"
    _line(console, f"Made at {moment(version.made_at)} UTC for {version.reason}, {start}.", version.proofs)
    _line(console, f"Its graph is {version.onnx_sha256[:_SHOWN_DIGITS]}… (SHA-256).")
    _show_training(console, version.training)
    for story in version.stories:
        _show_story(console, story)
    for reign in version.reigns:
        until = "now" if reign.until is None else moment(reign.until)
        words = f"Champion from {moment(reign.since)} until {until}: {reign.how} by {reign.actor} ({reign.reason})."
        _line(console, words, reign.proofs)
    if not version.reigns:
        _line(console, "It never was champion.")


def _show_training(console: Console, training: Training) -> None:
    if training.data_fingerprint:
        words = f"Its data's fingerprint is {training.data_fingerprint[:_SHOWN_DIGITS]}…"
        _line(console, words, training.proofs)
    for role, sources in training.images.items():
        told = ", ".join(f"{count} of {source}" if source else str(count) for source, count in sources.items())
        _line(console, f"{_role(role)}: {told}.")
    for why, count in training.left_out.items():
        _line(console, f"Left out: {count}, {why}.")
    if training.forgotten:
        _line(console, f"{training.forgotten} of its images were forgotten since.")
    seed = "" if training.seed is None else f", seed {training.seed}"
    if training.strategy:
        _line(console, f"{training.backbone}, strategy {training.strategy}{seed}, trained at {training.trained_at}.")
    if training.run:
        _line(console, f"Its run: {training.run}")


def _show_story(console: Console, story: Story) -> None:
    _heading(console, story.title, story.tone)
    for step in story.steps:
        _show_step(console, step)


def _show_step(console: Console, step: Step) -> None:
    at = "" if step.at is None else f"{moment(step.at)}  "
    _line(console, f"{at}{step.title}", step.proofs, style=_STYLES.get(step.tone, ""))
    for line in step.lines:
        _line(console, line, indent=4)
    for line in step.missing:
        _line(console, f"missing: {line}", style="yellow", indent=4)


def _show_missing(console: Console, missing: tuple[str, ...]) -> None:
    if missing:
        _heading(console, "What is missing", "warn")
        for line in missing:
            _line(console, f"- {line}", style="yellow")


def _heading(console: Console, words: str, tone: str = "") -> None:
    console.print()
    console.print(Text(words, f"bold {_STYLES.get(tone, '')}".strip()), soft_wrap=True)


def _line(console: Console, words: str, proofs: tuple[Proof, ...] = (), *, style: str = "", indent: int = 2) -> None:
    text = Text(words, style)
    if proofs:
        text.append(f"  [{', '.join(one.words for one in proofs)}]", "dim")
    console.print(Padding(text, (0, 0, 0, indent), expand=False))


def _role(name: str) -> str:
    known = {
        "train": "Trained on",
        "select": "Selected on",
        "judge_old": "Judged on (old)",
        "judge_recent": "Judged on (recent)",
    }
    return known.get(name, _upper(name.replace("_", " ")))


def _upper(words: str) -> str:
    return words[:1].upper() + words[1:]
