from pathlib import Path

import pytest
import torch

from models.training.loop import train
from tests.models.coloured_cards import run_folder


@pytest.fixture(autouse=True)
def _one_thread():
    threads = torch.get_num_threads()
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def champion(tmp_path_factory) -> Path:
    """A finished run, to start from; not to be written to."""
    folder = run_folder(tmp_path_factory.mktemp("champion") / "run")
    train(folder)
    return folder
