"""Two images in one, and the share of the label that stays one's own."""

import pytest
import torch

from models.training.varied.mixing import mix


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def numbered(count, side=16):
    """Image i is full of i, so that a pixel tells where it came from."""
    return torch.arange(count, dtype=torch.float32).view(-1, 1, 1, 1).repeat(1, 3, side, side)


def test_without_either_nothing_is_mixed_and_nothing_drawn():
    images, generator = numbered(4), seeded()
    before = generator.get_state()

    mixed, partner, share = mix(images, generator, 0.0, 0.0)

    assert mixed is images
    assert partner is None
    assert share is None
    assert torch.equal(generator.get_state(), before)


def test_a_single_image_has_nobody_to_be_mixed_with():
    images = numbered(1)

    assert mix(images, seeded(), 1.0, 1.0) == (images, None, None)


@pytest.mark.parametrize("count", [2, 3, 7, 8])
@pytest.mark.parametrize(("mixup", "cutmix"), [(0.4, 0.0), (0.0, 1.0), (0.4, 1.0)])
def test_batches_odd_or_even_are_mixed_and_nobody_with_themselves(count, mixup, cutmix):
    mixed, partner, share = mix(numbered(count), seeded(), mixup, cutmix)

    assert mixed.shape == (count, 3, 16, 16)
    assert sorted(partner.tolist()) == list(range(count))
    assert (partner != torch.arange(count)).all()
    assert share.shape == (count,)
    assert 0 <= share.min() <= share.max() <= 1


def test_mixup_lays_the_partner_over_by_exactly_the_share():
    images = numbered(9)

    mixed, partner, share = mix(images, seeded(), 0.4, 0.0)

    own, other = torch.arange(9.0), partner.float()
    assert torch.allclose(mixed[:, 0, 0, 0], share * own + (1 - share) * other, atol=1e-5)
    assert torch.allclose(mixed, mixed[:, :1, :1, :1].expand_as(mixed))


@pytest.mark.parametrize("seed", range(5))
def test_cutmix_pastes_a_rectangle_and_the_share_is_what_is_left(seed):
    images = numbered(33)

    mixed, partner, share = mix(images, seeded(seed), 0.0, 1.0)
    pasted = mixed[:, 0] == partner.view(-1, 1, 1)

    assert torch.equal(share, 1 - pasted.float().mean(dim=(1, 2)))
    assert torch.equal(mixed[:, 0][~pasted], images[:, 0][~pasted])
    assert torch.equal(pasted.any(dim=2).sum(dim=1) * pasted.any(dim=1).sum(dim=1), pasted.sum(dim=(1, 2)))


def test_images_need_not_be_square():
    images = numbered(5)[..., :10]

    mixed, partner, share = mix(images, seeded(), 0.0, 1.0)

    assert torch.equal(share, 1 - (mixed[:, 0] == partner.view(-1, 1, 1)).float().mean(dim=(1, 2)))


def test_the_shares_spread_as_beta_says():
    even = mix(numbered(4000, 1), seeded(), 1.0, 0.0)[2]
    extreme = mix(numbered(4000, 1), seeded(), 0.2, 0.0)[2]

    # The variance of Beta(a, a) is 1 / (4 (2 a + 1)).
    assert even.mean() == pytest.approx(0.5, abs=0.02)
    assert even.var() == pytest.approx(1 / 12, rel=0.05)
    assert extreme.var() == pytest.approx(1 / 5.6, rel=0.05)


def test_where_both_are_on_each_batch_gets_one_by_chance():
    generator = seeded()

    # Laid over each other, two numbers give one in between; pasted, they stay whole.
    pasted = [bool((mix(numbered(6), generator, 1.0, 1.0)[0] % 1 == 0).all()) for _ in range(100)]

    assert 30 < sum(pasted) < 70


def test_the_same_seed_mixes_the_same_whatever_else_draws():
    torch.manual_seed(1)
    first = mix(numbered(6), seeded(3), 0.4, 1.0)
    torch.manual_seed(2)
    again, other = mix(numbered(6), seeded(3), 0.4, 1.0), mix(numbered(6), seeded(4), 0.4, 1.0)

    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[2], other[2])
