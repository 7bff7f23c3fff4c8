"""The report of one training run: drawn once it is judged, kept in its run directory and beside the model."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from flows.collecting.images import read_image
from flows.collecting.snapshot import Snapshot
from flows.judging import Judgement, image_name
from flows.workplace import Workplace
from infra.files import write_atomically
from models.artifact import Artifact, read_artifact
from models.card import render_card
from models.mistakes import Mistake, worst_mistakes
from models.runtime import softmax
from models.training.plan import read_plan
from models.training_page import FinishedRun, draw_plots, read_training, render_page

_log = logging.getLogger(__name__)
_SELECT_LOGITS = "select_logits.npy"  # as the export calls it; importing that module would bring torch


@dataclass(frozen=True)
class Report:
    """A finished run and its plots, ready for pages that name the version."""

    run: FinishedRun
    plots: Mapping[str, Path]

    def page(self, title: str) -> str:
        """The whole report as one HTML document."""
        return render_page(self.run, self.plots, title)

    def card(self, title: str) -> str:
        """The model card, with the plots that concern who uses the model."""
        return render_card(self.run.artifact, self.run.scorecard, title, self.plots)

    def write(self, title: str) -> Path:
        """Write `report/index.html` beside the plots; gives its path."""
        path = self.run.report_dir / "index.html"
        write_atomically(path, self.page(title))
        return path


def draw(place: Workplace, run_dir: Path, snapshot: Snapshot, judgement: Judgement) -> Report:
    """Gather what the run left behind and draw its plots."""
    artifact = read_artifact(run_dir / "candidate")
    run = FinishedRun(
        run_dir=run_dir,
        plan=read_plan(run_dir),
        artifact=artifact,
        training=read_training(run_dir),
        scorecard=judgement.scorecard,
        decision=judgement.decision,
        select_mistakes=_select_mistakes(place, run_dir, snapshot, artifact),
        judge_mistakes=judgement.mistakes,
    )
    return Report(run, _drawn(run))


def _drawn(run: FinishedRun) -> Mapping[str, Path]:
    """A plot that fails must not cost the model: then the pages have tables only."""
    try:
        return draw_plots(run)
    except Exception:  # noqa: BLE001 - whatever a plotting library raises; logged
        _log.exception("The plots of %s could not be drawn", run.run_dir)
        return {}


def _select_mistakes(
    place: Workplace, run_dir: Path, snapshot: Snapshot, artifact: Artifact
) -> tuple[Mistake, ...] | None:
    """From the logits that the export kept; None where it kept none."""
    path = run_dir / _SELECT_LOGITS
    if not path.exists():
        return None
    logits = np.load(path)
    examples = snapshot.select[: len(logits)]
    return worst_mistakes(
        softmax(logits, artifact.temperature),
        np.array([artifact.classes.index(example.label) for example in examples], dtype=np.int64),
        artifact.classes,
        [image_name(place, example) for example in examples],
        lambda number: read_image(place, examples[number]),
    )
