"""`python -m tests.benchmarks.fastai_rival JOB.json`, where fastai is installed: its `fine_tune`."""

import json
import sys
import time
import warnings
from pathlib import Path

warnings.filterwarnings("ignore")  # of its libraries among themselves
# ruff: noqa: E402
import fastai.callback.all  # noqa: F401 - gives the learner fine_tune and no_bar
import torch
from fastai.data.block import CategoryBlock, DataBlock
from fastai.data.transforms import IndexSplitter, Normalize
from fastai.learner import Learner
from fastai.losses import CrossEntropyLossFlat
from fastai.torch_core import params
from fastai.vision.augment import Resize, aug_transforms
from fastai.vision.data import ImageBlock

from tests.benchmarks import networks
from tests.benchmarks.datasets import MEAN_AND_STD

_BATCH = 32
_FORWARD_SHARE = 0.3  # of a training step


def main() -> None:
    """One job; as many unfrozen epochs as the budget of CPU seconds pays for, after one frozen."""
    said = json.loads(Path(sys.argv[1]).read_text())
    torch.set_num_threads(1)
    torch.manual_seed(said["seed"])
    began_s = time.process_time()
    model = networks.network(len(said["classes"]), Path(said["weights"]), champion=said["champion"])
    learner = Learner(_loaders(said), model, loss_func=CrossEntropyLossFlat(), splitter=_body_and_head)
    learner.create_opt()
    frozen_s, epoch_s = _costs_s(learner, said)
    epochs = max(1, int((said["budget_cpu_s"] - time.process_time() - frozen_s) / epoch_s))
    with learner.no_bar(), learner.no_logging():
        learner.fine_tune(epochs)
    networks.save(model, Path(said["out"]))
    Path(said["told"]).write_text(json.dumps({"epochs": epochs + 1, "startup_cpu_s": round(began_s, 3)}))


def _loaders(said):
    count = len(said["train"])
    block = DataBlock(
        blocks=(ImageBlock, CategoryBlock(vocab=said["classes"])),
        get_x=lambda row: row[0],
        get_y=lambda row: row[1],
        splitter=IndexSplitter(range(count, count + len(said["select"]))),
        item_tfms=Resize(said["image_size"], method="squish"),
        batch_tfms=[
            *aug_transforms(do_flip=said["flip"]),
            Normalize.from_stats(MEAN_AND_STD, MEAN_AND_STD, cuda=False),
        ],
    )
    return block.dataloaders([*said["train"], *said["select"]], bs=_BATCH, num_workers=0, device=torch.device("cpu"))


def _body_and_head(model):
    """fastai's own division of a timm network."""
    head = params(model.get_classifier())
    return [[parameter for parameter in params(model) if all(parameter is not own for own in head)], head]


def _costs_s(learner, said):
    """CPU seconds of the frozen epoch and of one unfrozen, by a few batches forwards and backwards."""
    learner.model.train()
    buffers = {name: value.clone() for name, value in learner.model.state_dict().items()}
    taken_s = []
    began_s = time.process_time()
    for images, labels in _first(learner.dls.train, 6):
        learner.loss_func(learner.model(images), labels).backward()
        learner.model.zero_grad()
        taken_s.append(time.process_time() - began_s)
        began_s = time.process_time()
    batch_s = min(taken_s[1:])
    learner.model.load_state_dict(buffers)
    optimizer_s = 0.15 * batch_s  # fastai's is written in Python
    epoch_s = (batch_s + optimizer_s) * len(learner.dls.train)
    select_s = _FORWARD_SHARE * batch_s * len(learner.dls.valid)
    return epoch_s + select_s, epoch_s + select_s


def _first(batches, count):
    for number, batch in enumerate(batches):
        if number == count:
            return
        yield batch


if __name__ == "__main__":
    main()
