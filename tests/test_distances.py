import pytest
import torch

from vireid.distances import pairwise_distances, pairwise_squared_distances


@pytest.mark.parametrize("shift", [True, False])
def test_equals_the_definition(shift):
    x, y = torch.randn(7, 4, dtype=torch.float64, requires_grad=True), torch.randn(5, 4, dtype=torch.float64)
    expected = (x[:, None] - y[None]).square().sum(-1)
    torch.testing.assert_close(pairwise_squared_distances(x, y, shift=shift), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(pairwise_distances(x, y), expected.sqrt(), rtol=1e-12, atol=1e-12)
    assert torch.autograd.gradcheck(lambda rows: pairwise_squared_distances(rows, y, shift=shift), x)


def test_small_distances_far_from_the_origin():
    x = 1000 + torch.tensor([[0.0, 0.0], [0.125, 0.0]])
    torch.testing.assert_close(pairwise_distances(x, x)[0, 1], torch.tensor(0.125), rtol=1e-5, atol=0)


def test_gradient_is_finite_at_zero_and_right_elsewhere():
    x = torch.tensor([[0.0, 0.0], [0.0, 0.0], [3.0, 4.0]], dtype=torch.float64, requires_grad=True)
    pairwise_distances(x, x.detach())[0].sum().backward()
    torch.testing.assert_close(x.grad, torch.tensor([[-0.6, -0.8], [0, 0], [0, 0]], dtype=torch.float64))


def test_half_precision_is_computed_in_single_precision():
    x = torch.randn(6, 64).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        distances = pairwise_distances(x, x)
    torch.testing.assert_close(distances, pairwise_distances(x.double(), x.double()).float(), rtol=1e-5, atol=1e-2)


def test_equal_distances_of_integers_stay_equal_without_the_shift():
    x, y = torch.randint(-4, 5, (40, 768)).float(), torch.randint(-4, 5, (300, 768)).float()
    y = torch.cat([y, y.flip(1)[:100], y])  # some of them twice
    exact = (x[:, None].long() - y[None].long()).square().sum(-1)
    assert torch.equal(pairwise_squared_distances(x, y, shift=False).long(), exact)
    assert not torch.equal(pairwise_squared_distances(x, y), exact.float())
