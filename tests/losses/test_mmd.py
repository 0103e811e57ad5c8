import math

import pytest
import torch

from tests import references
from vireid.losses import IdentityMMDLoss


def test_by_hand():
    # One row a set: both distances to itself are 0 (kernel 5), and d² equals the bandwidth.
    loss = IdentityMMDLoss()(torch.tensor([[0.0]]), torch.tensor([[2.0]]), torch.tensor([0]))
    assert loss.item() == pytest.approx(10 - 2 * sum(math.exp(-(2.0**-s)) for s in range(-2, 3)), rel=1e-6)


@pytest.mark.parametrize("unbiased", [False, True])
def test_equals_the_loop(batch, unbiased):
    x, y, _, identities = batch
    expected = references.identity_mmd(x, y, identities, identities, unbiased)
    actual = IdentityMMDLoss(unbiased=unbiased)(x, y, identities).item()
    assert actual == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("unbiased", [False, True])
def test_unequal_counts_equal_the_loop(batch, unbiased):
    x, y, _, identities = batch
    x, x_identities = x[:9], identities[:9]  # identity 3 is in y only
    y, y_identities = y[2:], identities[2:]  # identities 0 and 4 lose a row
    expected = references.identity_mmd(x, y, x_identities, y_identities, unbiased)
    actual = IdentityMMDLoss(unbiased=unbiased)(x, y, x_identities, y_identities).item()
    assert actual == pytest.approx(expected, rel=1e-10)


def test_order_of_rows_and_sets_does_not_matter(batch):
    x, y, _, identities = batch
    order = torch.randperm(len(identities), generator=torch.Generator().manual_seed(1))
    loss = IdentityMMDLoss()
    torch.testing.assert_close(loss(x[order], y, identities[order], identities), loss(x, y, identities))
    torch.testing.assert_close(loss(y, x, identities), loss(x, y, identities))


@pytest.mark.parametrize("unbiased", [False, True])
def test_rests_where_the_docstring_says(unbiased):
    torch.manual_seed(0)
    x, y = torch.randn(2, 8 * 50, 2048)
    loss = IdentityMMDLoss(unbiased=unbiased)(x, y, torch.arange(50).repeat(8))
    assert loss.item() == pytest.approx(0 if unbiased else 6.19 / 8, abs=0.02)


def test_scale_does_not_matter_but_the_gap_does(batch):
    x, y, _, identities = batch
    loss = IdentityMMDLoss()
    torch.testing.assert_close(loss(100 * x, 100 * y, identities), loss(x, y, identities))
    assert loss(x, y + 3, identities) > loss(x, y + 1, identities) + 0.1


def test_degenerate_sets_are_differentiable_zeros():
    x = torch.ones(2, 3, requires_grad=True)
    coincident = IdentityMMDLoss()(x, x, torch.tensor([0, 0]))
    apart = IdentityMMDLoss()(x, x + 1, torch.tensor([0, 0]), torch.tensor([1, 1]))
    single = IdentityMMDLoss(unbiased=True)(x, x + 1, torch.tensor([0, 1]))
    for loss in (coincident, apart, single):
        (gradient,) = torch.autograd.grad(loss, x)
        assert loss == 0
        assert gradient.isfinite().all()


def test_gradcheck_with_the_bandwidth_detached(batch):
    x, y, _, identities = batch
    x.requires_grad_()
    loss = IdentityMMDLoss()(x, y, identities)
    (gradient,) = torch.autograd.grad(loss, x)

    def frozen(rows):
        """The loop's value with every identity's bandwidth as it was."""
        total = 0.0
        for identity in identities.unique():
            mine = identities == identity
            both = torch.cat([rows[mine], y[mine]])
            k = int(mine.sum())
            before = torch.cat([x.detach()[mine], y[mine]])
            bandwidth = torch.cdist(before, before).square().sum() / (2 * k * (2 * k - 1))
            squared = (both[:, None] - both[None]).square().sum(-1)
            kernel = sum(torch.exp(-squared / (bandwidth * 2.0**s)) for s in range(-2, 3))
            total = total + kernel[:k, :k].mean() + kernel[k:, k:].mean() - 2 * kernel[:k, k:].mean()
        return total / len(identities.unique())

    rows = x.detach().clone().requires_grad_()
    (expected,) = torch.autograd.grad(frozen(rows), rows)
    torch.testing.assert_close(gradient, expected, rtol=1e-8, atol=1e-10)
    assert torch.autograd.gradcheck(frozen, rows)


def test_errors():
    x, identities = torch.rand(4, 3), torch.tensor([0, 0, 1, 1])
    with pytest.raises(ValueError, match=r"y must have d = 3 like the others, got \(4, 2\)"):
        IdentityMMDLoss()(x, torch.rand(4, 2), identities)
    with pytest.raises(ValueError, match=r"x_identities must have shape \(3,\), one for each embedding, got \(4,\)"):
        IdentityMMDLoss()(x, x[:3], identities)
    with pytest.raises(TypeError, match="y_identities must be integers, got torch.float32"):
        IdentityMMDLoss()(x, x, identities, identities.float())


def test_sets_of_two_types_count_as_the_wider_one(batch):
    x, y, _, identities = batch
    mixed = IdentityMMDLoss()(x.float(), y, identities)
    assert mixed.dtype == torch.float64
    torch.testing.assert_close(mixed, IdentityMMDLoss()(x.float().double(), y, identities))


def test_margin_is_a_gate_over_each_identity(batch):
    x, y, _, identities = batch
    alone = torch.stack(
        [IdentityMMDLoss()(x[identities == i], y[identities == i], identities[identities == i]) for i in range(5)]
    )
    margin = alone.sort().values[1:3].mean().item()
    expected = alone[alone > margin].sum() / 5  # the whole value of those above it, zero of the others
    assert IdentityMMDLoss(margin=margin)(x, y, identities).item() == pytest.approx(expected.item())
    assert IdentityMMDLoss(margin=99.0)(x.requires_grad_(), y, identities) == 0
