import torch

from vireid.distances import pairwise_distances, pairwise_squared_distances


def test_equals_the_definition():
    x, y = torch.randn(7, 4, dtype=torch.float64), torch.randn(5, 4, dtype=torch.float64)
    expected = (x[:, None] - y[None]).square().sum(-1)
    torch.testing.assert_close(pairwise_squared_distances(x, y), expected, rtol=1e-12, atol=1e-12)
    torch.testing.assert_close(pairwise_distances(x, y), expected.sqrt(), rtol=1e-12, atol=1e-12)


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
