"""Training on what frozen layers gave once: the same weights as without, and no image through them twice."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from torch import nn
from torch.nn import functional

from models.layer_groups import layer_groups
from models.preprocessing import Preprocessing, normalise
from models.training.freezing import set_mode, set_trainable, trainable_names
from models.training.frozen.cached_prefix import CachedPrefix
from models.training.frozen.pooled_features import head_features
from models.training.frozen.prefix_cache import Shelf, fill, fingerprints
from models.training.frozen.source_choice import Costs, expected_epochs, expected_speedup, pays, read_choices
from models.training.frozen.sources import source_for
from models.training.plan import TrainingPlan
from models.training.stages import Stage
from models.training.whole_network import LabelledPixels, WholeNetwork

PLAN = TrainingPlan(
    backbone="test_resnet", classes=("a", "b", "c"), augmentation="none", device="cpu", most_epochs_per_stage=50
)  # fmt: skip
TOP = Stage(1, "top", (4, 5), head_only=False, rate=1.0, spread=1.0)
HEAD = Stage(0, "head", (5,), head_only=True, rate=1.0, spread=1.0)
SIZE = 32


def network(plan: TrainingPlan = PLAN, images: int = 48, name: str = "test_resnet") -> WholeNetwork:
    """A network with weights of its own, and noise to look at: two thirds to train on."""
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=3)
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, nn.BatchNorm2d):
                module.running_mean.normal_()
    pixels = np.random.default_rng(0).integers(0, 256, (90, SIZE, SIZE, 3), dtype=np.uint8)
    return WholeNetwork(
        model.to(memory_format=torch.channels_last),
        *(labelled(pixels, rows) for rows in (range(images), range(72, 90))), plan,
        Preprocessing(SIZE, (0.5,) * 3, (0.5,) * 3),
    )  # fmt: skip


def labelled(pixels: np.ndarray, rows: range) -> LabelledPixels:
    return LabelledPixels(pixels, np.array(rows), torch.arange(len(rows)) % 3, torch.ones(len(rows)))


def source(whole: WholeNetwork, folder: Path, stage: Stage = TOP):
    groups = layer_groups(whole.model)
    set_trainable(whole.model, trainable_names(whole.model, groups, stage))
    return source_for(whole, stage, folder, seed=1)


def chosen(whole: WholeNetwork, folder: Path, stage: Stage = TOP) -> CachedPrefix:
    """The stored prefix also where, on these small networks and a busy machine, it would hardly pay."""
    source(whole, folder, stage)
    path = folder / "sources.json"
    path.write_text(path.read_text().replace('"cached": false', '"cached": true'))
    found = source(whole, folder, stage)
    assert isinstance(found, CachedPrefix)
    return found


def trained(whole: WholeNetwork, supply, epochs: int = 3) -> dict[str, torch.Tensor]:
    parameters = [parameter for parameter in whole.model.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(parameters, lr=0.02, momentum=0.9)
    generator = torch.Generator().manual_seed(3)
    for _ in range(epochs):
        set_mode(whole.model, 16)
        for batch in torch.randperm(len(whole.train), generator=torch.Generator().manual_seed(5)).split(16):
            optimizer.zero_grad()
            logits = supply.train_forward(batch, generator).logits
            functional.cross_entropy(logits, whole.train.labels[batch]).backward()
            optimizer.step()
        supply.select_logits()
    return whole.model.state_dict()


class Counting:
    """How many images pass the first layer."""

    def __init__(self, whole: WholeNetwork) -> None:
        self.images = 0
        next(iter(whole.model.children())).register_forward_hook(self._count)

    def _count(self, module: nn.Module, given: tuple[torch.Tensor], result: torch.Tensor) -> None:
        self.images += len(given[0])


def test_images_reach_the_network_in_training_exactly_as_in_serving():
    whole = network()

    seen = whole.plain(whole.select, slice(0, 5))

    assert torch.equal(seen, torch.from_numpy(normalise(whole.select.taken(slice(0, 5)), whole.preprocessing)))
    assert torch.equal(whole.varied(np.arange(4), torch.Generator()), whole.plain(whole.train, slice(0, 4)))


@pytest.mark.parametrize("stage", [HEAD, TOP], ids=["head", "top"])
def test_training_on_the_stored_prefix_gives_the_weights_of_the_whole_network(tmp_path, stage):
    plain, stored = network(), network()
    source(plain, tmp_path / "plain", stage)

    expected = trained(plain, plain)
    found = trained(stored, chosen(stored, tmp_path, stage))

    before = network().model.state_dict()
    assert not torch.equal(expected["fc.weight"], before["fc.weight"])
    assert stage is HEAD or not torch.equal(expected["layer4.0.bn1.running_mean"], before["layer4.0.bn1.running_mean"])
    for name, tensor in expected.items():
        torch.testing.assert_close(found[name], tensor, rtol=1e-4, atol=1e-5)


def test_select_is_scored_alike_from_the_stored_prefix(tmp_path):
    whole = network()

    stored = chosen(whole, tmp_path)

    torch.testing.assert_close(stored.select_logits(), whole.select_logits(), rtol=1e-4, atol=1e-5)


def test_looking_for_the_cheapest_way_leaves_the_network_as_it_was(tmp_path):
    whole = network()
    before = {name: tensor.clone() for name, tensor in whole.model.state_dict().items()}

    source(whole, tmp_path)

    assert all(torch.equal(before[name], tensor) for name, tensor in whole.model.state_dict().items())
    assert all(parameter.grad is None for parameter in whole.model.parameters())


def test_every_image_is_kept_in_as_many_views_as_the_augmentation_deserves(tmp_path):
    whole = network(replace(PLAN, augmentation="light"))

    stored = chosen(whole, tmp_path)

    assert stored.views.kept.shape[:2] == (4, 48)
    assert not torch.equal(stored.views.kept[0], stored.views.kept[1])
    assert torch.equal(
        stored.views.kept[0].permute(0, 3, 1, 2), chosen(network(), tmp_path / "plain").views.taken(0, slice(None))
    )


def test_a_second_job_computes_only_new_images(tmp_path):
    plan = replace(PLAN, features_dir=str(tmp_path / "features"))
    head_features(network(plan, images=40), tmp_path / "first", seed=1)
    later = network(plan, images=48)
    count = Counting(later)

    found = head_features(later, tmp_path / "second", seed=1)

    probes = 2 + 2 + 2  # whether the head is a matrix, with and without; the shape of features
    assert count.images == 8 + probes
    fresh = head_features(network(images=48), tmp_path / "third", seed=1)
    torch.testing.assert_close(found.views, fresh.views)
    torch.testing.assert_close(found.select, fresh.select)


def test_other_weights_below_make_other_features(tmp_path):
    plan = replace(PLAN, features_dir=str(tmp_path / "features"))
    first = head_features(network(plan), tmp_path / "first", seed=1)
    other = network(plan)
    with torch.no_grad():
        other.model.conv1[0].weight.mul_(1.1)

    second = head_features(other, tmp_path / "second", seed=1)

    assert not torch.allclose(first.views, second.views)


def test_another_head_finds_the_features_that_the_last_one_left(tmp_path):
    plan = replace(PLAN, features_dir=str(tmp_path / "features"))
    head_features(network(plan), tmp_path / "first", seed=1)
    later = network(plan)
    later.model.reset_classifier(3)
    count = Counting(later)

    head_features(later, tmp_path / "second", seed=1)

    assert count.images == 6


def test_a_head_that_says_nothing_yet_does_not_pass_for_a_matrix_on_features(tmp_path):
    whole = network()
    nn.init.zeros_(whole.model.fc.weight)
    nn.init.zeros_(whole.model.fc.bias)
    whole.model.forward = lambda images: 2 * type(whole.model).forward(whole.model, images)

    assert head_features(whole, tmp_path, seed=1) is None
    assert not whole.model.fc.weight.any()


def test_dropout_before_the_head_is_drawn_afresh_for_stored_features_too(tmp_path):
    whole = network()
    whole.model.drop_rate = 0.5

    stored = source(whole, tmp_path, HEAD)

    set_mode(whole.model, 16)
    first, second = (stored.train_forward(torch.arange(8), torch.Generator().manual_seed(0)).logits for _ in range(2))
    assert isinstance(stored, CachedPrefix)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("damage", ["half", "bit", "nothing"])
def test_a_damaged_file_is_computed_again(tmp_path, damage):
    first = head_features(network(), tmp_path, seed=1)
    for path in (tmp_path / "features").iterdir():
        data = bytearray(path.read_bytes())
        data[-5] ^= 16
        path.write_bytes({"half": data[: len(data) // 2], "bit": data, "nothing": b""}[damage])
    count = Counting(whole := network())

    again = head_features(whole, tmp_path, seed=1)

    assert torch.equal(first.views, again.views)
    assert torch.equal(first.select, again.select)
    assert count.images == 6 + 48 + 18


def test_beyond_the_memory_bound_the_whole_network_trains(tmp_path):
    whole = network(replace(PLAN, cache_mb=0.01))

    assert source(whole, tmp_path) is whole
    assert head_features(whole, tmp_path, seed=1) is None
    (choice,) = read_choices(tmp_path)
    assert choice.reason == "what is frozen takes more than 0.01 MB to store (train.cache_mb)"


def test_of_many_views_those_are_stored_that_fit(tmp_path):
    whole = network(replace(PLAN, augmentation="light"))
    chosen(whole, tmp_path / "all")
    all_mb = read_choices(tmp_path / "all")[0].megabytes

    stored = chosen(network(replace(PLAN, augmentation="light", cache_mb=0.8 * all_mb)), tmp_path / "some")

    assert len(stored.views.kept) == 3


def test_mixed_images_are_not_stored(tmp_path):
    whole = network(replace(PLAN, mixup=0.2))

    assert source(whole, tmp_path) is whole
    assert "mixed afresh" in read_choices(tmp_path)[0].reason


def test_nothing_is_stored_where_nothing_is_frozen(tmp_path):
    everything = replace(TOP, groups=tuple(range(6)))
    whole = network()

    assert source(whole, tmp_path, everything) is whole
    assert read_choices(tmp_path)[0].reason == "nothing is frozen"


def test_a_resumed_job_repeats_its_choice_without_measuring(tmp_path):
    whole = network()
    source(whole, tmp_path)
    path = tmp_path / "sources.json"
    for made in ("true", "false"):
        other = "false" if made == "true" else "true"
        path.write_text(path.read_text().replace(f'"cached": {other}', f'"cached": {made}'))
        before = path.read_text()

        again = source(network(), tmp_path)

        assert isinstance(again, CachedPrefix) == (made == "true")
        assert path.read_text() == before


def test_another_jobs_choice_is_not_repeated(tmp_path):
    source(network(replace(PLAN, mixup=0.2)), tmp_path)

    source(network(), tmp_path)

    (choice,) = read_choices(tmp_path)
    assert choice.costs is not None


def test_a_damaged_record_of_choices_is_written_anew(tmp_path):
    (tmp_path / "sources.json").write_text('{"1": {"sta')

    source(network(), tmp_path)

    assert [choice.stage for choice in read_choices(tmp_path)] == ["top"]


def test_views_are_drawn_alike_when_a_job_is_resumed(tmp_path):
    plan = replace(PLAN, augmentation="light")
    first = chosen(network(plan), tmp_path)
    for path in (tmp_path / "features").iterdir():
        path.unlink()

    again = chosen(network(plan), tmp_path)

    assert torch.equal(first.views.kept, again.views.kept)
    numbers = torch.tensor([3, 1, 2])
    forward = [each.train_forward(numbers, torch.Generator().manual_seed(2)).logits for each in (first, again)]
    assert torch.equal(*forward)


def test_what_was_not_used_for_longest_makes_room(tmp_path):
    shelf, rows = Shelf(tmp_path, most_mb=0.01), torch.ones(10, 100)  # 4 kB, and two of them fit
    for key in "abc":
        fill(rows.clone(), shelf, key * 4, [f"{key}{number}" for number in range(10)], lambda missing: iter([rows]))

    kept = sorted(path.name[:4] for path in tmp_path.iterdir())

    assert kept == ["bbbb", "cccc"]


def test_an_image_that_occurs_twice_is_filled_twice(tmp_path):
    out, shelf = torch.zeros(3, 2), Shelf(tmp_path, most_mb=1)
    fill(torch.zeros(2, 2), shelf, "key", ["x", "y"], lambda missing: iter([torch.tensor([[1.0, 1], [2, 2]])]))

    computed = fill(out, shelf, "key", ["y", "x", "y"], lambda missing: iter([]))

    assert computed == 0
    assert out[:, 0].tolist() == [2, 1, 2]


def test_images_are_known_by_what_they_show():
    pixels = np.zeros((3, 4, 4, 3), dtype=np.uint8)
    pixels[2, 0, 0, 0] = 1

    one, two, three = fingerprints(pixels, [0, 1, 2])

    assert one == two != three


def test_storing_pays_when_the_prefix_is_dear_and_the_epochs_are_many():
    dear = Costs(whole=10.0, prefix=8.0, suffix=2.0)

    assert expected_speedup(dear, views=1, epochs=10) == pytest.approx(100 / 28)
    assert pays(dear, views=4, epochs=10)
    assert not pays(dear, views=4, epochs=4)
    assert not pays(Costs(whole=10.0, prefix=1.0, suffix=9.0), views=1, epochs=100)


def test_a_short_budget_means_few_epochs():
    costs = Costs(whole=0.01, prefix=0.008, suffix=0.002)

    assert expected_epochs(costs, images=1000, most=20, budget_s=65.0) == 6
    assert expected_epochs(costs, images=1000, most=20, budget_s=1.0) == 1
    assert expected_epochs(costs, images=10, most=20, budget_s=65.0) == 20
