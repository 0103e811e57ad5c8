import pytest
import torch
from torch import nn
from torch.nn.functional import conv2d

from vireid.models import BNNeck, DiverseEmbeddingExpansion, ExpandedNeck, ExpandedPooling


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def test_each_branch_is_the_mean_of_dilated_convolutions():
    expansion = DiverseEmbeddingExpansion(8, branches=2, dilations=(1, 2, 3)).double().eval()
    feature_map = torch.randn(3, 8, 7, 5, dtype=torch.float64)
    expanded = expansion(feature_map)
    assert torch.equal(expanded[:3], feature_map)
    for b, branch in enumerate(expanded[3:].chunk(2)):
        total = 0
        for k, convolution in enumerate(expansion.convolutions[b], start=1):
            assert convolution.weight.shape == (2, 8, 3, 3)
            padded = nn.functional.pad(feature_map, (k, k, k, k))
            taps = [
                torch.einsum(
                    "oc,bchw->bohw", convolution.weight[:, :, i, j], padded[:, :, i * k :, j * k :][:, :, :7, :5]
                )
                for i in range(3)
                for j in range(3)
            ]
            total = total + sum(taps)
        back = expansion.projections[b]
        torch.testing.assert_close(branch, conv2d((total / 3).relu(), back.weight, back.bias))


def test_arguments_change_something_and_gradients_reach_every_weight():
    feature_map = torch.randn(2, 8, 6, 3)
    assert DiverseEmbeddingExpansion(8, branches=1)(feature_map).shape == (4, 8, 6, 3)
    assert [c.dilation for c in DiverseEmbeddingExpansion(8, dilations=(2, 5)).convolutions[0]] == [(2, 2), (5, 5)]
    expansion = DiverseEmbeddingExpansion(8, dropout=0.5)
    expanded = expansion(feature_map)
    assert (expanded[:2] == 0).float().mean().item() == pytest.approx(0.5, abs=0.15)
    assert torch.equal(expansion.eval()(feature_map)[:2], feature_map)
    expanded.square().sum().backward()
    assert all(p.grad is not None for p in expansion.parameters())


def test_pooling_puts_the_versions_of_an_image_side_by_side():
    maps = torch.randn(3, 4, 8, 6, 3)  # n b c h w
    pooled = ExpandedPooling(8)(maps.flatten(0, 1))
    assert pooled.shape == (4, 24) == (4, ExpandedPooling(8).out_channels)
    for b in range(4):
        torch.testing.assert_close(pooled[b], torch.cat([maps[n, b].mean((1, 2)) for n in range(3)]))
    with pytest.raises(ValueError, match="feature_map must have rows for 3 versions of each image, got"):
        ExpandedPooling(8)(maps.flatten(0, 1)[:4])


def test_the_neck_normalises_all_versions_as_one_batch():
    rows = torch.randn(4, 3, 8) * torch.tensor([1.0, 5.0, 9.0])[:, None]  # b n c
    neck, plain = ExpandedNeck(8), BNNeck(8)
    torch.testing.assert_close(neck(rows.flatten(1)), plain(rows.flatten(0, 1)).view(4, 24))
    torch.testing.assert_close(neck.running_var, plain.running_var)
    assert not neck.bias.requires_grad
    with pytest.raises(ValueError, match=r"embeddings must have shape \(b, n · 8\), got \(4, 12\)"):
        neck(torch.rand(4, 12))
