"""`progress.jsonl`: a line per finished epoch and per remark, for whoever watches the job."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from infra.clock import now


@dataclass(frozen=True)
class EpochProgress:
    """
    One epoch that has ended. After a resumption an epoch may be told again; the last line of it counts.

    Attributes:
        stage: from 0.
        stages: in all; `auto` may need fewer.
        epoch: within the stage, from 1.
        epochs: planned for this stage; fewer after an early stop.
        step: updates of the weights so far, over all stages.
        loss: mean over the epoch's training images.
        select_loss: mean over the selection images.
        select_macro_recall: mean of the classes' recall on the selection images, 0..1.
        metric: what decides, on the selection images.
        value: of that metric now; more is better.
        best_so_far: of that metric, over all stages.
        learning_rate: of the head, at the epoch's end.
        source: whole network, cached prefix or cached features.
        seconds: of training so far, over all stages and resumptions.
        eta_s: seconds to the end of this stage, should it run all its epochs.
    """

    stage: int
    stages: int
    stage_name: str
    epoch: int
    epochs: int
    step: int
    loss: float
    select_loss: float
    select_macro_recall: float
    select_accuracy: float
    metric: str
    value: float
    best_so_far: float
    learning_rate: float
    images_per_s: float
    source: str
    device: str
    seconds: float
    eta_s: float


def tell(path: Path, epoch: EpochProgress) -> None:
    """Append one line, visible to readers at once."""
    _append(path, {"kind": "epoch", **asdict(epoch)})


def remark(path: Path, words: str) -> None:
    """Append a sentence that a person should read."""
    _append(path, {"kind": "remark", "words": words})


def _append(path: Path, line: dict[str, Any]) -> None:
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps({"at": now().isoformat(), **line}) + "\n")
