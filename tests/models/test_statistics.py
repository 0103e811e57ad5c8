import pytest
import torch
from torch import nn

from vireid.models import OwnStatistics


def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Sequential(nn.BatchNorm1d(4, affine=False)))


def test_it_is_the_module_on_a_batch_of_its_own():
    module, twin = make(), make()
    own = OwnStatistics(module)
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    for seed in range(3):
        rows = torch.randn(6, 3, generator=torch.Generator().manual_seed(seed)) * 9 + 5
        torch.testing.assert_close(own(module, rows), twin(rows), rtol=0, atol=0)
    for name, buffer in module.named_buffers():
        assert torch.equal(buffer, before[name]), name
        torch.testing.assert_close(own.get_buffer(name.replace(".", "/")), twin.get_buffer(name), rtol=0, atol=0)
    module.eval()
    torch.testing.assert_close(own(module, rows), twin.eval()(rows), rtol=0, atol=0)
    assert not torch.allclose(module(rows), twin(rows))


def test_the_weights_are_the_modules():
    module = make()
    own = OwnStatistics(module)
    assert not list(own.parameters())
    own(module, torch.randn(6, 3)).square().sum().backward()
    assert module[0].weight.grad.abs().max() > 0
    restored = OwnStatistics(make())
    restored.load_state_dict(own.state_dict())
    assert torch.equal(restored.get_buffer("1/running_mean"), own.get_buffer("1/running_mean"))


def test_wrong_module():
    with pytest.raises(TypeError, match="module must be a module, got 'str'"):
        OwnStatistics("layer4")
