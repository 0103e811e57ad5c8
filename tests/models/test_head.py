import pytest
import torch

from vireid.models import BNNeck, GeneralizedMeanPool


def test_pool_by_hand_and_its_limits():
    feature_map = torch.tensor([1.0, 2.0, 2.0, 3.0]).view(1, 1, 2, 2)
    assert GeneralizedMeanPool(3)(feature_map).item() == pytest.approx((44 / 4) ** (1 / 3))
    assert GeneralizedMeanPool(1)(feature_map).item() == pytest.approx(2)
    assert GeneralizedMeanPool(60)(feature_map).item() == pytest.approx(3, rel=0.03)


def test_pool_is_defined_on_zeros_and_learnable_on_request():
    pool = GeneralizedMeanPool(learnable=True)
    feature_map = torch.zeros(2, 3, 4, 5, requires_grad=True)
    pool(feature_map).sum().backward()
    assert feature_map.grad.isfinite().all()
    pool(torch.rand(2, 3, 4, 5)).sum().backward()
    assert pool.p.grad.abs() > 0
    assert not list(GeneralizedMeanPool().parameters())


def test_pool_errors():
    with pytest.raises(ValueError, match="p must be a finite number above 0, got 0."):
        GeneralizedMeanPool(0)
    with pytest.raises(ValueError, match=r"feature_map must have shape \(b, c, h, w\), got \(2, 3\)."):
        GeneralizedMeanPool()(torch.rand(2, 3))
    with pytest.raises(TypeError, match="feature_map must be floating point, got torch.uint8"):
        GeneralizedMeanPool()(torch.ones(2, 3, 4, 5).byte())


def test_print_tells_the_settings_of_a_pool():
    assert repr(GeneralizedMeanPool(2.5)) == "GeneralizedMeanPool(p=2.5, eps=1e-06)"
    assert repr(GeneralizedMeanPool(learnable=True, eps=0.1)) == "GeneralizedMeanPool(p=learnable, eps=0.1)"


def test_neck_normalises_and_does_not_shift():
    neck = BNNeck(8)
    rows = 3 + 5 * torch.randn(64, 8)
    torch.testing.assert_close(neck(rows).mean(0), torch.zeros(8), atol=1e-5, rtol=0)
    torch.testing.assert_close(neck(rows).std(0, correction=0), torch.ones(8), atol=1e-4, rtol=0)
    assert [name for name, parameter in neck.named_parameters() if parameter.requires_grad] == ["weight"]


@pytest.mark.parametrize(
    ("rows", "error", "message"),
    [
        (
            torch.rand(2, 8, 1, 1),
            ValueError,
            r"embeddings must have shape \(b, d\), got \(2, 8, 1, 1\). Pool the feature map",
        ),
        (torch.rand(2, 7), ValueError, r"embeddings must have shape \(b, 8\), got \(2, 7\)"),
        (torch.rand(1, 8), ValueError, r"embeddings must have at least 2 rows in training, got \(1, 8\)"),
        (torch.rand(2, 8).half(), TypeError, "embeddings must be torch.float32 like the weights, got torch.float16"),
        (
            torch.rand(2, 8, device="meta"),
            ValueError,
            "embeddings must be on cpu like the weights, got device.type='meta'",
        ),
    ],
)
def test_neck_errors(rows, error, message):
    with pytest.raises(error, match=message):
        BNNeck(8)(rows)
