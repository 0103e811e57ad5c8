import pytest
import torch

from vireid.models import NonLocalBlock


@pytest.mark.parametrize("inter_channels", [None, 1, 3])
def test_non_local_block_equals_the_loop(inter_channels):
    torch.manual_seed(0)
    block = NonLocalBlock(4, inter_channels=inter_channels).double().eval()
    torch.nn.init.normal_(block.project[1].weight)
    feature_map = torch.randn(2, 4, 3, 2, dtype=torch.float64)
    expected = feature_map.clone()
    for b in range(2):
        places = feature_map[b].flatten(1).T  # n c
        value, query, key = (
            places @ part.weight[:, :, 0, 0].T + part.bias for part in (block.value, block.query, block.key)
        )
        for i in range(6):
            summed = sum((query[i] @ key[j]) * value[j] for j in range(6)) / 6
            mixed = block.project[0].weight[:, :, 0, 0] @ summed + block.project[0].bias
            norm = block.project[1]
            scaled = mixed / (1 + norm.eps) ** 0.5 * norm.weight + norm.bias
            expected[b, :, i // 2, i % 2] += scaled
    torch.testing.assert_close(block(feature_map), expected)
    assert block.value.out_channels == (inter_channels or 2)


def test_errors():
    with pytest.raises(ValueError, match="inter_channels must be an integer of at least 1, got 0"):
        NonLocalBlock(4, inter_channels=0)
    block = NonLocalBlock(4)
    with pytest.raises(ValueError, match=r"feature_map must have shape \(b, 4, h, w\), got \(2, 3, 5, 5\)"):
        block(torch.rand(2, 3, 5, 5))
    with pytest.raises(TypeError, match="feature_map must be torch.float32 like the weights, got torch.float64"):
        block(torch.rand(2, 4, 5, 5).double())
