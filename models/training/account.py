"""What a job says of itself while it trains: the first process for all."""

from models.training.epochs import EpochOutcome
from models.training.job import Job
from models.training.progress import EpochProgress, remark, tell
from models.training.stages import Stage
from models.training.standing import Standing


def say(job: Job, words: str) -> None:
    """A sentence that a person should read."""
    if job.bench.ranks.first:
        remark(job.progress, words)


def tell_epoch(job: Job, stage: Stage, standing: Standing, outcome: EpochOutcome, source: str) -> None:
    """One line of progress for an epoch, or for a stage of a single step; TensorBoard's curves where there is one."""
    if not job.bench.ranks.first:
        return
    best, metric = standing.best.score, job.plan.metric
    epochs = standing.last_epoch or standing.epochs
    left = max(0, epochs - standing.epoch)
    line = EpochProgress(
        stage=stage.index,
        stages=len(job.stages),
        stage_name=stage.name,
        epoch=standing.epoch,
        epochs=epochs,
        step=standing.step,
        loss=outcome.loss,
        select_loss=outcome.select.loss,
        select_macro_recall=outcome.select.macro_recall,
        select_accuracy=outcome.select.accuracy,
        metric=metric,
        value=outcome.select.value(metric),
        best_so_far=best.value(metric),
        learning_rate=outcome.learning_rate,
        images_per_s=round(outcome.images_per_s, 1),
        source=source,
        device=str(job.bench.device),
        seconds=round(standing.seconds, 3),
        eta_s=round(left * standing.stage_seconds / max(1, standing.epoch), 1),
    )
    tell(job.progress, line)
    job.draw(line)
