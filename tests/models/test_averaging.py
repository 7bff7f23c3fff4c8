import torch
from torch import nn

from models.training.averaging import RunningMean, interpolated
from models.training.interpolation import Trial, best_share
from models.training.selection import SelectScore


def network(value: float) -> nn.Module:
    module = nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2))
    with torch.no_grad():
        for tensor in module.state_dict().values():
            tensor.fill_(value)
    return module


def test_a_running_mean_warms_up_so_that_the_first_weights_are_soon_forgotten():
    mean = RunningMean(network(0.0), decay=0.9998)

    for _ in range(200):
        mean.take_in(network(1.0))

    # Without warm-up 0.9998 ** 200 = 96 % of the first weights would still be in it.
    assert mean.weights["0.weight"].min() > 0.99


def test_the_model_has_its_own_weights_again_afterwards():
    model = network(1.0)
    mean = RunningMean(network(0.0), decay=0.9)

    with mean.in_place(model):
        inside = model[0].weight.clone()

    assert inside.abs().max() == 0
    assert model[0].weight.min() == 1


def test_a_running_mean_is_restored_from_its_state():
    mean = RunningMean(network(0.0), decay=0.9)
    mean.take_in(network(1.0))
    other = RunningMean(network(5.0), decay=0.9)

    other.restore(mean.state())

    assert other.updates == 1
    assert torch.equal(other.weights["0.weight"], mean.weights["0.weight"])


def test_interpolated_weights_lie_between_and_counters_are_left_alone():
    start = {"w": torch.zeros(3), "n": torch.tensor(7), "head": torch.zeros(2)}
    end = {"w": torch.ones(3), "n": torch.tensor(9), "head": torch.ones(3)}

    middle = interpolated(start, end, 0.25)

    assert middle["w"].tolist() == [0.25] * 3
    assert middle["n"] == 9
    assert middle["head"].tolist() == [1.0] * 3, "a wider head has no partner"


def test_the_share_is_chosen_on_old_and_new_images_alike():
    def trial(share: float, old: float, new: float) -> Trial:
        return Trial(share, SelectScore(old, old, 0.0), SelectScore(new, new, 0.0))

    trials = (trial(0.0, 0.99, 0.1), trial(0.5, 0.97, 0.9), trial(1.0, 0.6, 0.95))

    assert best_share(trials, "macro_recall") == 0.5


def test_of_equal_shares_the_farthest_from_the_start_is_taken():
    trials = tuple(Trial(share, None, SelectScore(0.9, 0.9, 0.0)) for share in (0.0, 0.5, 1.0))

    assert best_share(trials, "macro_recall") == 1.0
