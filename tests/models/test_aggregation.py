import pytest
import torch
from torch import nn

from vireid.models import AggregatedStage, ChannelAggregation, SpatialAggregation


@pytest.fixture(autouse=True)
def _seed():
    torch.manual_seed(0)


def with_weights(module):
    """Let it add something: its batch norm starts at zero."""
    nn.init.normal_(module.project[1].weight)
    return module.double().eval()


def pointwise(convolution, column):
    return convolution.weight[:, :, 0, 0] @ column + convolution.bias


def columns(feature_map, step=1):
    """The positions of a map c h w, row by row."""
    return [
        feature_map[:, i, j] for i in range(0, feature_map.shape[1], step) for j in range(0, feature_map.shape[2], step)
    ]


@pytest.mark.parametrize("stride", [1, 2])
def test_channels_equal_the_loop(stride):
    module = with_weights(ChannelAggregation(4, 6, stride=stride))
    x, low = (
        torch.randn(2, 6, 4, 3, dtype=torch.float64),
        torch.randn(2, 4, 4 * stride, 3 * stride, dtype=torch.float64),
    )
    actual = module(x, low)
    for b in range(2):
        query = torch.stack([pointwise(module.query, column) for column in columns(x[b])], 1)
        key = torch.stack([pointwise(module.key, column) for column in columns(low[b], stride)], 1)
        agreement = torch.tensor(
            [[float((query[i] @ key[j]).detach()) / 4 for j in range(4)] for i in range(4)]
        ).double()
        mixed = [agreement @ pointwise(module.value, column) for column in columns(low[b], stride)]
        added = torch.stack([pointwise(module.project[0], column) for column in mixed], 1).view(1, 6, 4, 3)
        torch.testing.assert_close(actual[b], x[b] + module.project[1](added)[0], rtol=1e-5, atol=1e-6)


def test_positions_equal_the_loop():
    module = with_weights(SpatialAggregation(4, 6))
    x, low = torch.randn(2, 6, 4, 3, dtype=torch.float64), torch.randn(2, 4, 8, 6, dtype=torch.float64)
    actual = module(x, low)
    for b in range(2):
        keys, values = ([pointwise(part, column) for column in columns(low[b])] for part in (module.key, module.value))
        mixed = []
        for column in columns(x[b]):
            query = pointwise(module.query, column)
            mixed.append(sum((query @ key) * value for key, value in zip(keys, values)) / 48)
        added = torch.stack([pointwise(module.project[0], column) for column in mixed], 1).view(1, 6, 4, 3)
        torch.testing.assert_close(actual[b], x[b] + module.project[1](added)[0])


def test_a_stage_starts_as_it_was_and_learns():
    convolution = nn.Conv2d(4, 6, 3, stride=2, padding=1)
    stage, low = AggregatedStage(convolution, 4, 6, stride=2), torch.rand(2, 4, 9, 7)  # odd sizes as well
    torch.testing.assert_close(stage(low), convolution(low))
    for part in (stage.channel, stage.spatial):
        nn.init.ones_(part.project[1].weight)
    assert not torch.allclose(stage(low), convolution(low))
    stage(low).square().sum().backward()
    assert all(p.grad is not None for p in stage.parameters())


@pytest.mark.parametrize(
    ("make", "low", "message"),
    [
        (lambda: ChannelAggregation(4, 6), (2, 5, 4, 3), r"low_map must have shape \(b, 4, h, w\), got \(2, 5, 4, 3\)"),
        (lambda: ChannelAggregation(4, 6), (2, 4, 8, 6), "low_map must be as large as feature_map times the stride"),
        (lambda: SpatialAggregation(4, 6), (3, 4, 8, 6), "low_map must hold 2 maps, got 3"),
    ],
)
def test_raises(make, low, message):
    with pytest.raises(ValueError, match=message):
        make()(torch.rand(2, 6, 4, 3), torch.rand(low))
