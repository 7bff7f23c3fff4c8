"""What a stage does when the machine or the numbers give out."""

from dataclasses import replace

import pytest
import torch

from infra.errors import UserError
from models.training import job
from models.training.stage_run import beginning, run_stage
from models.training.statistics import renew_statistics
from tests.models.coloured_cards import PLAN, progress, run_folder


def memory_for(most: int):
    """A hook that lets a network train on so many images at once, as a small GPU would."""

    def hook(module: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if module.training and len(inputs[0]) > most:
            raise torch.OutOfMemoryError(f"no room for {len(inputs[0])} images")

    return hook


def test_where_memory_is_too_small_half_as_many_images_go_at_once(tmp_path):
    folder = run_folder(tmp_path / "run", PLAN)

    with job.opened(folder) as work:
        work.bench.model.register_forward_pre_hook(memory_for(4))
        standing = run_stage(work, work.stages[0], beginning(work))

    assert standing.outcomes[0].ended == "epochs"
    told = [line["words"] for line in progress(folder) if line["kind"] == "remark"]
    assert told == [
        "The GPU's memory is too small for 16 images at once; going on with 8.",
        "The GPU's memory is too small for 8 images at once; going on with 4.",
    ]


def test_memory_for_not_even_two_images_is_an_error_that_names_the_remedies(tmp_path):
    folder = run_folder(tmp_path / "run", PLAN)

    with job.opened(folder) as work:
        work.bench.model.register_forward_pre_hook(memory_for(1))
        standing = beginning(work)
        with pytest.raises(UserError, match=r"lower train\.micro_batch_images"):
            run_stage(work, work.stages[0], standing)


def test_renewed_statistics_are_the_plain_mean_over_all_images():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 1), torch.nn.BatchNorm2d(4), torch.nn.Dropout(0.5))
    images = torch.randn(64, 3, 8, 8) * 3 + 1
    with torch.no_grad():
        seen = model[0](images)

    renew_statistics(model, images.split(16))

    torch.testing.assert_close(model[1].running_mean, seen.mean(dim=(0, 2, 3)))
    assert model[1].momentum == 0.1
    assert not model[1].training


def test_a_compiled_network_is_called_and_gives_what_the_plain_one_gives(tmp_path):
    folder = run_folder(tmp_path / "run", replace(PLAN, augmentation="none"))

    with job.opened(folder) as work:
        work.bench.model.eval()
        # Without code generation, which would take a minute; the wrapper is the one that training gets.
        compiled = torch.compile(work.bench.model, backend="eager")
        plain, through = (
            each.train_forward(torch.arange(4), torch.Generator().manual_seed(0)).logits
            for each in (work.network, replace(work.network, forward=compiled))
        )

    torch.testing.assert_close(through, plain)
