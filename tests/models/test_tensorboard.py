"""Training's curves, read back from TensorBoard's own files."""

import sys

import pytest

from models.training.progress import EpochProgress
from models.training.tensorboard import FOLDER, open_board

INSTALLED = "TensorBoard is no part of Kedge; installed beside it, this test reads its files back"


def epoch(step, recall):
    return EpochProgress(
        stage=0, stages=1, stage_name="head", epoch=step, epochs=3, step=step, loss=0.5, select_loss=0.25,
        select_macro_recall=recall, select_accuracy=recall, metric="macro_recall", value=recall, best_so_far=recall,
        learning_rate=0.01, images_per_s=100.0, source="whole network", device="cpu", seconds=1.0, eta_s=0.0,
    )  # fmt: skip


def read_back(folder):
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator", reason=INSTALLED)
    events = accumulator.EventAccumulator(str(folder))
    events.Reload()
    return {name: [(one.step, one.value) for one in events.Scalars(name)] for name in events.Tags()["scalars"]}


@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # TensorBoard's own
def test_a_job_that_goes_on_draws_over_what_came_after_its_checkpoint(tmp_path):
    pytest.importorskip("tensorboard", reason=INSTALLED)
    draw = open_board(tmp_path)
    for step, recall in ((1, 0.25), (2, 0.5), (3, 0.75)):
        draw(epoch(step, recall))

    again = open_board(tmp_path, step=2)
    again(epoch(3, 0.875))

    drawn = read_back(tmp_path / FOLDER)
    assert drawn["select/macro_recall"] == [(1, 0.25), (2, 0.5), (3, 0.875)]
    assert drawn["loss/train"] == [(1, 0.5), (2, 0.5), (3, 0.5)]


def test_without_tensorboard_a_job_draws_nothing_and_goes_on(tmp_path, monkeypatch):
    # None in its place is how Python itself says that a module is not to be had.
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", None)

    open_board(tmp_path)(epoch(1, 0.5))

    assert list(tmp_path.iterdir()) == []
