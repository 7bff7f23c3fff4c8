"""The epochs of a job as TensorBoard's curves, where TensorBoard is installed; where it is not, nothing happens."""

from collections.abc import Callable
from pathlib import Path

from models.training.progress import EpochProgress

FOLDER = "tensorboard"


def open_board(run_dir: Path, step: int = 0) -> Callable[[EpochProgress], None]:
    """
    What takes each finished epoch and writes it to `run_dir/tensorboard`.

    step: updates of the weights so far; what a broken-off job drew beyond it is left out of the curves.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return lambda epoch: None
    writer = SummaryWriter(str(run_dir / FOLDER), purge_step=step + 1 if step else None)

    def draw(epoch: EpochProgress) -> None:
        for name, value in curves(epoch).items():
            writer.add_scalar(name, value, epoch.step)
        writer.flush()

    return draw


def curves(epoch: EpochProgress) -> dict[str, float]:
    """The numbers of an epoch by the names of their curves; losses share a chart, and so do the scores on *select*."""
    return {
        "loss/train": epoch.loss,
        "loss/select": epoch.select_loss,
        "select/macro_recall": epoch.select_macro_recall,
        "select/accuracy": epoch.select_accuracy,
        f"select/best_{epoch.metric}": epoch.best_so_far,
        "learning_rate": epoch.learning_rate,
        "images_per_s": epoch.images_per_s,
        "stage": epoch.stage + 1,
    }
