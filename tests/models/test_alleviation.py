import pytest
import torch

from vireid.models import ModalityAlleviation


def reference(gate, feature_map, eps=1e-5):
    """g·x + (1 − g)·IN(x), image by image and channel by channel."""
    inner, outer = (gate.gate[i].weight[:, :, 0, 0] for i in (0, 2))
    result = torch.empty_like(feature_map)
    for b, image in enumerate(feature_map):
        hidden = [max(0.0, sum(w * channel.mean() for w, channel in zip(row, image))) for row in inner]
        for c, channel in enumerate(image):
            g = 1 / (1 + torch.exp(-sum(w * h for w, h in zip(outer[c], hidden))))
            variance = ((channel - channel.mean()) ** 2).mean()
            result[b, c] = g * channel + (1 - g) * (channel - channel.mean()) / (variance + eps).sqrt()
    return result


@pytest.fixture
def gate():
    torch.manual_seed(0)
    return ModalityAlleviation(6, reduction=2).double()


def test_equals_the_loop(gate):
    feature_map = torch.randn(3, 6, 4, 2, dtype=torch.float64) * 3 + 1
    assert gate.gate[0].out_channels == 3
    torch.testing.assert_close(gate(feature_map), reference(gate, feature_map))
    torch.testing.assert_close(gate.eval()(feature_map[1:2]), reference(gate, feature_map)[1:2])  # no statistics kept
    order = torch.tensor([2, 0, 1])
    torch.testing.assert_close(gate(feature_map[order]), gate(feature_map)[order])


def test_gradient(gate):
    feature_map = torch.randn(2, 6, 2, 2, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(gate, feature_map)
    gate(feature_map).sum().backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in gate.parameters())


def test_width_of_the_gate():
    assert ModalityAlleviation(1024).gate[0].out_channels == 64
    assert ModalityAlleviation(8).gate[0].out_channels == 1
    assert all(module.bias is None for module in ModalityAlleviation(8).gate if hasattr(module, "bias"))


def test_errors(gate):
    rule = r"feature_map must have shape \(b, 6, h, w\) with two positions or more, got"
    with pytest.raises(ValueError, match=rule + r" \(2, 6, 1, 1\)"):
        gate(torch.rand(2, 6, 1, 1).double())
    with pytest.raises(ValueError, match=rule + r" \(2, 5, 2, 2\)"):
        gate(torch.rand(2, 5, 2, 2).double())
    with pytest.raises(ValueError, match="reduction must be an integer of at least 1, got 0"):
        ModalityAlleviation(6, reduction=0)
