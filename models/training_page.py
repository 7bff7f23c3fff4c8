"""The page of one training run: what was trained on what, how it went, how good it is, what the gate said."""

import base64
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jinja2
import numpy as np

from models.artifact import Artifact
from models.gate_records import GateDecision
from models.mistakes import Mistake
from models.scorecard import ClassScore, Scorecard
from models.training.plan import TrainingPlan
from models.training.run_folder import read_examples

REPORT = "report"

_PAGES = jinja2.Environment(
    loader=jinja2.FileSystemLoader(Path(__file__).parent), autoescape=True, undefined=jinja2.StrictUndefined
)
_KINDS = {".svg": "image/svg+xml", ".png": "image/png"}
_MOST_CONFUSED = 10
_ENDED = {
    "early": "no better for a while",
    "epochs": "all epochs done",
    "budget": "time budget used up",
    "fitted": "fitted in closed form",
    "renewed": "statistics renewed",
}


@dataclass(frozen=True)
class FinishedRun:
    """
    A trained and judged run.

    Attributes:
        select_mistakes: worst ones on the images that decided when to stop, which may be looked at freely; None where
            the answers to them were not kept.
        judge_mistakes: worst ones on the images that only the gate reads, from its one reading.
        training: `candidate/training.json`, as it was written.
    """

    run_dir: Path
    plan: TrainingPlan
    artifact: Artifact
    training: Mapping[str, Any]
    scorecard: Scorecard
    decision: GateDecision
    select_mistakes: tuple[Mistake, ...] | None = None
    judge_mistakes: tuple[Mistake, ...] = ()

    @property
    def report_dir(self) -> Path:
        return self.run_dir / REPORT


@dataclass(frozen=True)
class ClassCounts:
    """Images of one class by role; those that train also by where they come from."""

    label: str
    train_manifest: int
    train_production: int
    select: int
    judge: int


@dataclass(frozen=True)
class Confused:
    """So many of the `images` that bear a label were given another answer."""

    label: str
    answer: str
    count: int
    images: int


def read_training(run_dir: Path) -> Mapping[str, Any]:
    """`candidate/training.json` of a finished run, with what was remarked on the way under "remarks"."""
    training: dict[str, Any] = json.loads((run_dir / "candidate" / "training.json").read_text())
    said = [training.get("remark", ""), *_remarks(run_dir / "progress.jsonl")]
    return {**training, "remarks": list(dict.fromkeys(words for words in said if words))}


def draw_plots(run: FinishedRun) -> Mapping[str, Path]:
    """Draw every plot that the run has the facts for into `run_dir/report/`; gives each one's file by its name."""
    # matplotlib takes a second to come: only who draws waits for it.
    from models import gate_plot, learning_curves, plots

    card, folder = run.scorecard, run.report_dir
    drawn: dict[str, Path] = {}

    def file(name: str, suffix: str = ".svg") -> Path:
        drawn[name] = folder / f"{name}{suffix}"
        return drawn[name]

    epochs = learning_curves.read_epochs(run.run_dir)
    if epochs:
        metric = str(run.training.get("plan", {}).get("metric", "macro_recall"))
        learning_curves.draw_curves(epochs, metric, file("learning_curves"))
    plots.draw_confusion(card, file("confusion"))
    plots.draw_classes(card, file("classes"))
    if card.subgroups:
        plots.draw_subgroups(card.subgroups, card.accuracy, file("subgroups"))
    if card.bins and card.bins_before:
        plots.draw_reliability(card, file("reliability"))
    if not gate_plot.draw_forest(run.decision, file("gate")):
        del drawn["gate"]
    for name, found in (("select_mistakes", run.select_mistakes), ("judge_mistakes", run.judge_mistakes)):
        if found:
            plots.draw_mistakes(found, file(name, ".png"))
    return drawn


def render_page(run: FinishedRun, drawn: Mapping[str, Path], title: str) -> str:
    """One HTML document that needs nothing else; title: name and version of the model."""
    from models.plots import MOST_CLASSES

    artifact = run.artifact
    return _PAGES.get_template("training_page.html").render(
        run=run,
        title=title,
        artifact=artifact,
        card=run.scorecard,
        decision=run.decision,
        training=run.training,
        plan=run.training["plan"],
        start_words=start_words(run.training, artifact),
        warnings=_warnings(run.training),
        stages=run.training["stages"],
        ended=_ENDED,
        counts=class_counts(run),
        confused=most_confused(run.scorecard),
        plots=embedded(drawn),
        most_classes=MOST_CLASSES,
    )


def embedded(drawn: Mapping[str, Path]) -> Mapping[str, str]:
    """Each plot as a data URI, by its name."""
    return {
        name: f"data:{_KINDS[path.suffix]};base64,{base64.b64encode(path.read_bytes()).decode()}"
        for name, path in drawn.items()
    }


def class_counts(run: FinishedRun) -> tuple[ClassCounts, ...]:
    """Of every class the model knows, in its order; judge images as the gate counted them."""
    counts = Counter(
        (row.label, row.role, row.source if row.role == "train" else "") for row in read_examples(run.run_dir, run.plan)
    )
    return tuple(
        ClassCounts(
            label=one.label,
            train_manifest=counts[one.label, "train", "manifest"],
            train_production=counts[one.label, "train", "production"],
            select=counts[one.label, "select", ""],
            judge=one.images,
        )
        for one in run.scorecard.per_class
    )


def most_confused(card: Scorecard) -> tuple[Confused, ...]:
    """The ten most frequent pairs of label and wrong answer."""
    counts = np.array(card.confusion)
    np.fill_diagonal(counts, 0)
    order = np.argsort(-counts, axis=None, kind="stable")[:_MOST_CONFUSED]
    pairs = [divmod(int(place), len(counts)) for place in order]
    classes: Sequence[ClassScore] = card.per_class
    return tuple(
        Confused(classes[label].label, classes[answer].label, int(counts[label, answer]), classes[label].images)
        for label, answer in pairs
        if counts[label, answer]
    )


def start_words(training: Mapping[str, Any], artifact: Artifact) -> str:
    """Where the weights began, in a person's words."""
    plan = training["plan"]
    start, parent = plan["start"], artifact.lineage.parent_version
    if plan["strategy"] == "scratch" or start == "scratch" or _unreached(training):
        return "from scratch: weights drawn at random, nothing pretrained"
    if start == "champion":
        return "the champion's weights" if parent is None else f"version {parent}, the champion at that time"
    if start.startswith("pretrained:"):
        return f"a file of pretrained weights, {Path(start.removeprefix('pretrained:')).name}"
    return f"timm's pretrained weights of {plan['backbone']}"


def _warnings(training: Mapping[str, Any]) -> list[str]:
    found = list(training.get("remarks", []))
    if _unreached(training) and not found:
        found.append(
            "The pretrained weights could not be fetched, so it was trained from scratch. "
            "Expect less from it; fetch the weights once, or name a file of weights in model.weights, and train again."
        )
    return found


def _unreached(training: Mapping[str, Any]) -> bool:
    """Whether pretrained weights were wanted and random ones came: only those have no licence."""
    return str(training["plan"]["start"]).startswith("timm") and training["licence"] == "none"


def _remarks(path: Path) -> list[str]:
    found = []
    for line in path.read_text(encoding="utf-8").splitlines() if path.exists() else ():
        try:
            told = json.loads(line)
        except ValueError:
            continue  # torn by a kill
        if isinstance(told, dict) and told.get("kind") == "remark":
            found.append(str(told.get("words", "")))
    return found
