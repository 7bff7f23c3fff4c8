"""`progress.jsonl`: a line per finished epoch, for whoever watches the job."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path

from infra.clock import now


@dataclass(frozen=True)
class EpochProgress:
    """
    One epoch that has ended. After a resumption an epoch may be told again; the last line of it counts.

    Attributes:
        stage: from 0.
        stages: in all.
        epoch: within the stage, from 1.
        epochs: planned at most for this stage.
        step: updates of the weights so far, over all stages.
        loss: mean over the epoch's training images.
        select_macro_recall: mean of the classes' recall on the selection images, 0..1.
        learning_rate: of the head, at the epoch's end.
        seconds: of training so far, over all stages and resumptions.
    """

    stage: int
    stages: int
    stage_name: str
    epoch: int
    epochs: int
    step: int
    loss: float
    select_macro_recall: float
    select_accuracy: float
    learning_rate: float
    seconds: float


def tell(path: Path, epoch: EpochProgress) -> None:
    """Append one line, visible to readers at once."""
    line = {"at": now().isoformat(), **asdict(epoch)}
    with path.open("a", encoding="utf-8") as file:
        file.write(json.dumps(line) + "\n")
