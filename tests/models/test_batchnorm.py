import copy

import pytest
import torch
from torch import nn

from vireid.models import AuxiliaryBatchNorm


def make():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Sequential(nn.BatchNorm1d(4, affine=False)))


def test_it_is_the_module_on_a_batch_of_its_own():
    module, twin = make(), make()
    own = AuxiliaryBatchNorm(module)
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
    own = AuxiliaryBatchNorm(module)
    assert not list(own.parameters())
    own(module, torch.randn(6, 3)).square().sum().backward()
    assert module[0].weight.grad.abs().max() > 0
    restored = AuxiliaryBatchNorm(make())
    restored.load_state_dict(own.state_dict())
    assert torch.equal(restored.get_buffer("1/running_mean"), own.get_buffer("1/running_mean"))


class Script(nn.Module):
    """A network as the field's scripts write it: a flag for the modality, and no module for the shared stages."""

    def __init__(self, auxiliary=True):
        super().__init__()
        self.visible, self.thermal = nn.Conv2d(3, 4, 1), nn.Conv2d(3, 4, 1)
        self.layer, self.norm = nn.Conv2d(4, 5, 1), nn.BatchNorm2d(5)
        self.bottleneck = nn.BatchNorm1d(5)
        self.register_buffer("calls", torch.zeros(()))
        self.auxiliary = AuxiliaryBatchNorm(self) if auxiliary else None

    def forward(self, x, thermal=None, modal=0):
        if modal == 0:
            v, r = self.visible(x), self.thermal(thermal)
            x = torch.cat([v, r])
        elif modal == 1:
            x = self.visible(x)
        x = self.norm(self.layer(x)).relu().mean((2, 3))  # modal=3: a map at the cut
        self.calls += 1
        features = self.bottleneck(x)
        if modal == 0 and self.auxiliary is not None:
            features = torch.cat([features, self.auxiliary(self, 100 * (v + r), modal=3)])
        return features


def test_a_network_with_inline_stages_enters_itself_again():
    torch.manual_seed(0)
    network = Script()
    torch.manual_seed(0)
    plain, other = Script(auxiliary=False), copy.deepcopy(network)
    assert set(dict(network.auxiliary.named_buffers())) == {
        f"{norm}/{name}"
        for norm in ("norm", "bottleneck")
        for name in ("running_mean", "running_var", "num_batches_tracked")
    }
    x, thermal = torch.rand(2, 4, 3, 2, 2)
    features = network(x, thermal)
    assert features.shape == (12, 5)
    torch.testing.assert_close(features[:8], plain(x, thermal), rtol=0, atol=0)
    for name, buffer in plain.named_buffers():
        expected = 2 * buffer if name == "calls" else buffer  # buffers of other kinds are the network's own
        torch.testing.assert_close(network.get_buffer(name), expected, rtol=0, atol=0)
    auxiliary_map = 100 * (plain.visible(x) + plain.thermal(thermal))
    for part in (other.norm, other.bottleneck):
        part.reset_running_stats()
    torch.testing.assert_close(features[8:], other(auxiliary_map, modal=3))
    torch.testing.assert_close(network.auxiliary.get_buffer("norm/running_var"), other.norm.running_var)
    features.square().sum().backward()
    assert all(parameter.grad is not None for parameter in network.parameters())
    network.load_state_dict(copy.deepcopy(network.state_dict()))
    network.eval()
    torch.testing.assert_close(network(x, modal=1), plain.eval()(x, modal=1))


def test_any_arguments_of_the_module():
    class Two(nn.Module):
        def __init__(self):
            super().__init__()
            self.norm = nn.BatchNorm1d(2)

        def forward(self, a, *, module, scale=1):
            return self.norm(a + module), scale

    module = Two()
    rows = torch.rand(3, 2)
    result, scale = AuxiliaryBatchNorm(module)(module, rows, module=rows, scale=2)
    assert scale == 2
    torch.testing.assert_close(result, Two()(rows, module=rows)[0])
    assert not module.norm.num_batches_tracked


def test_wrong_module():
    with pytest.raises(TypeError, match="module must be a module, got 'str'"):
        AuxiliaryBatchNorm("layer4")
    with pytest.raises(TypeError, match="module must be a module, got 'Tensor'"):
        AuxiliaryBatchNorm(make())(torch.rand(4, 3))
